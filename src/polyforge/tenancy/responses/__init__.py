"""Answers that are kept for a while, so that later requests of the same project can go on from them."""
