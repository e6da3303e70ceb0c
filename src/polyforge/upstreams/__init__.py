"""What the adapters of providers share: their account, the deadlines of a call, what refusals mean, streams."""
