"""Files of a project: their bytes are objects, what is known of them are rows."""
