"""Looking after a running installation: its settings and feature flags."""
