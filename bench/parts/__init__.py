"""Servers, clients and clocks of the measurements."""
