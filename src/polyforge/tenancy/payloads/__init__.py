"""What was asked and answered, word for word: kept where somebody wants that, sealed, for a while."""
