"""Events as rows: written in the transaction of what happened, read by every process as a tail."""
