"""Flows of a project: their drafts, their versions, what points at which of them, and how each got there."""
