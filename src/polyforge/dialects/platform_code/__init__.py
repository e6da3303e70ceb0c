"""The code operations of the platform: what they ask a model, and what its answer has to be."""
