"""The history of requests: what the ledger knows of each of them, found again."""
