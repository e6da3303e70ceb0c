"""Measures Polyforge against a bare proxy and against other gateways, over public surfaces only."""
