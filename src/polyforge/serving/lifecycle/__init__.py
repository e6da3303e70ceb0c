"""The life of the host's models: loading, memory, sleep, replacement, and what becomes of a run that never ends."""
