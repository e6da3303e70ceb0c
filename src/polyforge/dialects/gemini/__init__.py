"""Gemini's generateContent, as the Gemini API and Vertex AI speak it. Outbound only.

Source: https://ai.google.dev/api/generate-content and the types of Google's client library, google-genai.
"""
