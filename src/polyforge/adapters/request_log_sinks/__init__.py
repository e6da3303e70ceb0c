"""Where the log of requests can be sent to."""
