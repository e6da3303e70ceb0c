"""What must be remembered: every change and every sensitive read, chained so that nothing can be taken back unseen."""
