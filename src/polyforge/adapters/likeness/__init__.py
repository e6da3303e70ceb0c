"""What compares vectors."""
