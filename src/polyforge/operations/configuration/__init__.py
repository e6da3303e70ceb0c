"""What may change while the platform runs: feature flags and declared models, versioned, with a way back."""
