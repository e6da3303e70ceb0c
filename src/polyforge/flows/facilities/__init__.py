"""What nodes may use, as an installation has it: models, addresses, databases, code, messages, guardrails, objects."""
