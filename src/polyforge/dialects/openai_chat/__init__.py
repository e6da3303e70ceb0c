"""OpenAI's chat completions and legacy completions.

`facts` reads what routing and metering need and lets the bytes pass; `requests`, `replies` and `streams` go through the
canonical form, where the other side speaks another dialect. Source: https://platform.openai.com/docs/api-reference/chat
"""
