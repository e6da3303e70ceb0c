"""Guardrails: one file for each way to judge a text."""
