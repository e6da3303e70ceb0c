"""Providers and models that were added over the API, beside those that polyforge.yaml declares."""
