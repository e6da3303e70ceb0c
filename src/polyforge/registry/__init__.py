"""Models: their names, what answers for them, what they cost and what callers are charged."""
