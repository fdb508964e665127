"""What may go wrong: the user's input, a part of many jobs, or the program (anything else)."""

from typing import Any


class UserError(Exception):
    """Bad input or options; the message is one sentence saying what, where and what to do.

    The command line prints it as `overfit: error: <message>` and exits with code 2.
    """


class PartialFailure(Exception):
    """Some of many jobs failed and the others are done; the command line exits with code 1.

    about: what the command writes as JSON all the same.
    """

    def __init__(self, message: str, about: dict[str, Any]):
        super().__init__(message)
        self.about = about


def sentence(error: Exception) -> str:
    """The error as one line for the user; behind its type where it was not foreseen."""
    message = " ".join((str(error) or type(error).__name__).split())
    if isinstance(error, UserError | PartialFailure):
        return message
    return f"{type(error).__name__}: {message}"
