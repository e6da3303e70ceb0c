"""Triton's model repositories, read as they are."""
