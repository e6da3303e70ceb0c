"""What ends a command."""

FAILED = 1
WRONG_SETTINGS = 2


class CommandError(Exception):
    """A command cannot do what was asked; the message is a line for people."""
