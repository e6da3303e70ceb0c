"""Texts as each of our databases can keep them."""


def storable(text: str) -> str:
    """The same without NUL, which PostgreSQL neither stores nor takes in a query."""
    return text.replace("\0", "\ufffd")
