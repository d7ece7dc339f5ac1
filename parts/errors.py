"""The exception for what a user can cause: a wrong flag, file, or run."""


class UserError(ValueError):
    """Its message is one line: the value, what was expected, the way out."""
