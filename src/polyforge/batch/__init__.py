"""Files that callers upload, and batches of calls over them."""
