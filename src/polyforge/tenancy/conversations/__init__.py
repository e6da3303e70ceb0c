"""Conversations that people save from the playground, for themselves or for all of their project."""
