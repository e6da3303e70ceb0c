"""Secrets are references: where a value lies, not the value."""
