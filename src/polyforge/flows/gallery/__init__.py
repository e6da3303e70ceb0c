"""Flows to begin with: complete ones, each for a task that people have, with prompts and a sample of inputs."""
