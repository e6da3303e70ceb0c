"""Files of what a project has much of, made by jobs."""
