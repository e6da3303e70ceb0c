"""Counting tokens for callers."""
