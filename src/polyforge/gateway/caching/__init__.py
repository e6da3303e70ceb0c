"""Answers that were given once, given again: to the same request, or to a question that means the same."""
