"""Errors that a user can mend: printed as one line, exit code 2."""


class UserError(Exception):
    """What is wrong and what would be right, in one line."""
