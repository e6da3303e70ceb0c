"""Where objects are kept: files that people upload, and what jobs make."""
