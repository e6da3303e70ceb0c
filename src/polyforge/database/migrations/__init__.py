"""Alembic's folder: `env.py` runs the scripts in `versions/`, each of which takes the schema one step forward."""
