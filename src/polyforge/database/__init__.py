"""Rows: the engine, sessions that read and sessions that write, scoped stores and migrations."""
