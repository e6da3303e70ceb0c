"""What ends a command."""

FAILED = 1
WRONG_SETTINGS = 2


class CommandError(Exception):
    """A command cannot do what was asked; the message is a line for people."""


class Refused(CommandError):
    """The gateway refused, with this status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
