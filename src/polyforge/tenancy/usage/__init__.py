"""What was used and what it cost: sums over calls, asked of the sums by hour and by day that the ledger keeps."""
