"""Places that models are fetched from."""
