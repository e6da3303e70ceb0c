"""What every room may use: errors, ids, clock, money and the canonical task types."""
