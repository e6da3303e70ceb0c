"""Anthropic's Messages API.

`facts` reads what routing and metering need and lets the bytes pass; `reading`, `requests`, `replies` and `streams` go
through the canonical form, where the other side speaks another dialect. Source: https://docs.claude.com/en/api/messages
"""
