"""Where data of other programs lies."""
