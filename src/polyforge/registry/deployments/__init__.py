"""From what the registry keeps to models that answer: which versions a machine serves, and how they do there."""
