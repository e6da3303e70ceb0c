"""Corrections: entries of the ledger that change what calls came to, since no row of it is ever changed."""
