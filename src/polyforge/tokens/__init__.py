"""Offline counting of tokens: what a text or a prompt comes to, exactly or between bounds."""
