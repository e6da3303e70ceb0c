"""Sealed secrets of organizations, `secret:name`: who may use them, and how their seals are renewed."""
