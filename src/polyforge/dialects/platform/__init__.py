"""The platform's own dialect of chat: small JSON, whose parts an answer and the next request write alike."""
