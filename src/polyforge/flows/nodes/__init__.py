"""One file for each type of node; each says all there is to say about it in `NODE`."""
