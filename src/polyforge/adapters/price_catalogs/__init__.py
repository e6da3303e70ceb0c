"""Where published prices come from."""
