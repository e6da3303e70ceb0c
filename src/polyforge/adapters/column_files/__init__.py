"""Formats of tables that are no text."""
