"""Whom to ask for what is not here: peers first, in their order, then upstream."""
