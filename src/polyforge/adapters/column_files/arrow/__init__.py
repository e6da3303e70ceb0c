"""What reads and writes tables of Apache Arrow, as a program of its own."""
