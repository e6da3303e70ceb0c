"""Batches: files of calls that are made in the background, and files of their answers."""
