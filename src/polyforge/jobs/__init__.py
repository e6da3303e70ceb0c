"""Durable work outside of requests: jobs, their queues, schedules and workers; knows nothing of what it runs."""
