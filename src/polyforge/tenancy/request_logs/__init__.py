"""The log of requests on its way out: what the ledger took in, batch by batch, to each sink at least once."""
