"""What may be said to models and what they may say: rules over the canonical form, which no dialect can go around."""
