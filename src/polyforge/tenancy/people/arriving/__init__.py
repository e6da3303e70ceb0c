"""Arriving: what a sign-in page asks before anybody has signed in, and how the first user comes to be."""
