"""What runs versions of flows: runs, their events and what they wait for."""
