"""Limits: who may use how much of what, how long; on tenants, people, keys, models, providers and end users."""
