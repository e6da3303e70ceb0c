"""What polyforge.yaml declares, taken again while the platform runs: versioned, with a way back."""
