"""What the storages of clouds have in common."""
