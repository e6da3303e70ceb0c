"""Money and limits on the request path: shared counters, the journal, and the drainer that writes the ledger."""
