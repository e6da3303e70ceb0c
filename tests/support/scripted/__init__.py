"""Providers as scripted servers: one file for each wire format, all telling the same scenarios."""
