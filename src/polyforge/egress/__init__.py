"""The one way out: every HTTP call to another server goes through here."""
