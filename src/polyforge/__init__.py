"""Polyforge: one gateway, one set of keys, and behind it every model a team runs."""

__version__ = "0.1.0"
