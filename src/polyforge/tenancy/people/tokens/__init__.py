"""Tokens of API clients: short access tokens that need no look-up of a secret, and refresh tokens that rotate."""
