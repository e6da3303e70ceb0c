"""The hop of guardrails, and what shows what they would do."""
