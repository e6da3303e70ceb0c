"""Models that a project keeps: their versions, what points at which of them, and how each got there."""
