"""Wire formats as pure functions in both directions; no I/O."""
