"""How the installation and a project do right now, on one page: what home shows."""
