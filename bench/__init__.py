"""Measurements, each a script: ``python -m bench.NAME``."""
