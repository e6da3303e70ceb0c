"""Flows: graphs of typed nodes. Here is what a flow is: its format, checks, plan and differences; nothing executes."""
