"""Deleting what is known of a person, while what was used stays counted."""
