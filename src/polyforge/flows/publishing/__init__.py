"""Flows for others: run by name over HTTP, as tools of agents, on pages for people, and as Python scripts."""
