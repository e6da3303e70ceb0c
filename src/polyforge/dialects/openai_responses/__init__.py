"""OpenAI's Responses, for callers: providers are reached through the canonical form.

Source: https://platform.openai.com/docs/api-reference/responses and the types of the official client.
"""
