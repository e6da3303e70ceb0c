"""What starts flows by itself: the clock, and calls from outside."""
