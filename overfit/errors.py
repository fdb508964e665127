"""The one exception that means: the input or the options are at fault, not the program."""


class UserError(Exception):
    """Bad input or options; the message is one sentence saying what, where and what to do.

    The command line prints it as `overfit: error: <message>` and exits with code 2.
    """
