"""Runs what may crash, leak or hang in a child process: bounded, its output logged, gone with its parent."""
