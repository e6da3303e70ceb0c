"""Why the supervisor gives up."""

FAILED = 1
WRONG_SETTINGS = 2
"""Exit status, of a process and of the supervisor, when a setting is wrong: trying again cannot help."""
INTERRUPTED = 130


class StartError(Exception):
    """`polyforge up` cannot start; the message is for people, `status` for the shell."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status
