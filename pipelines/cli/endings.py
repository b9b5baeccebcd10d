"""How a command that did not succeed ends: words on standard error, and an exit code."""

from __future__ import annotations

import os
import sys

from data_contracts.errors import EnvironmentProblem, LunglineError
from data_contracts.redaction import redact

INTERRUPTED = 7
UNEXPECTED = 1


def complain(error: LunglineError) -> int:
    _traceback_if_debugging()
    _print_error(f"Error: {error.what}\n  Why it matters: {error.why}\n  What to do: {error.cure}")
    return error.exit_code


def interrupted() -> int:
    print("Interrupted. What was finished is kept; run the same command again to go on.", file=sys.stderr)
    return INTERRUPTED


def unexpected(error: Exception) -> int:
    """Usage errors of the parser, signals that ZenML caught first, a full disk, and everything nobody foresaw."""
    if type(error).__name__ in ("RunInterruptedException", "RunStoppedException"):
        return interrupted()
    if hasattr(error, "exit_code") and hasattr(error, "format_message"):
        _print_error(f"Error: {error.format_message()}\n  What to do: see `lungline --help`.")
        return int(error.exit_code)
    if isinstance(error, OSError) and error.errno == 28:
        return complain(
            EnvironmentProblem(
                f"The disk is full ({error.filename or 'while writing'}).",
                why="The work could not be finished; nothing incomplete has a final name.",
                cure="Free some space, or set LUNGLINE_HOME to a larger disk, and run the same command again.",
            )
        )
    _traceback_if_debugging()
    _print_error(
        f"Error: {type(error).__name__}: {error}\n  This is a defect in Lungline or in a library it uses."
        "\n  What to do: run the same command with `lungline --debug …` and report what it prints."
    )
    return UNEXPECTED


def _traceback_if_debugging() -> None:
    if os.environ.get("LUNGLINE_DEBUG"):
        import traceback

        _print_error(traceback.format_exc())


def _print_error(text: str) -> None:
    print(redact(text), file=sys.stderr)
