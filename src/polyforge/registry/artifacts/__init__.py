"""Artifacts: the files of models on this machine, fetched once, verified, and named by what they are."""
