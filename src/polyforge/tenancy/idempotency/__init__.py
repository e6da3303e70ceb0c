"""Requests that callers may send again without having them done twice: what came of each is kept under its key."""
