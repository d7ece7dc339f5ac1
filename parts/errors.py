"""The exception for what a user can cause, and stages whose errors all become one."""

import contextlib

LONGEST_REASON = 300  # letters of the reason that a library gives


class UserError(ValueError):
    """Its message is one line: the value, what was expected, the way out."""


@contextlib.contextmanager
def stage(failed, then=""):
    """A context in which every error becomes a UserError: "`failed`, because ...; `then`".

    Whole stages stand in it, which depend on what a user has: reading a file, loading a run,
    writing. Which errors a parser raises for broken files is nowhere listed completely. --debug
    shows where the error came from.
    """
    try:
        yield
    except (UserError, NameError):  # the first knows more, the second is a fault of the program
        raise
    except Exception as error:
        way_out = f"; {then}" if then else ""
        raise UserError(f"{failed}, because {reason(error)}{way_out}") from error


def reason(error):
    """Why something failed, in one line."""
    if isinstance(error, MemoryError):
        return "there is too little memory"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return f"it is not {error.encoding.upper()} text"
    if isinstance(error, UnicodeEncodeError):
        return "it holds halves of letters"
    if isinstance(error, KeyError):
        return f"{error} is missing"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    said = error.args[0] if error.args and isinstance(error.args[0], str) else error
    lines = str(said).strip().splitlines()
    return lines[0][:LONGEST_REASON] if lines else type(error).__name__
