"""The `lungline` command: parses the line, runs the command, and turns errors into words and exit codes.

Commands live in pipelines/commands and are imported when called, so that `--help` needs neither torch nor ZenML.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated

import typer

from data_contracts.errors import LunglineError
from data_contracts.redaction import RedactedRecord
from pipelines.cli import decisions, installation, scoring, training
from pipelines.cli.endings import complain, interrupted, unexpected
from pipelines.commands.output import document_alone

_TYPER_INTERRUPTED = 130  # what typer makes of Ctrl-C

app = typer.Typer(
    name="lungline",
    help="Retrain, review and watch chest X-ray classifiers. Not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for part in (training, decisions, scoring, installation):
    app.add_typer(part.commands)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if debug:
        os.environ["LUNGLINE_DEBUG"] = "1"


def main() -> None:
    """Entry point: exit codes as documented, no traceback unless --debug, and no secret in an error or a log."""
    logging.setLogRecordFactory(RedactedRecord)
    try:
        with document_alone("--json" in sys.argv):
            code = app(standalone_mode=False)
        if code == _TYPER_INTERRUPTED:
            code = interrupted()
    except LunglineError as error:
        code = complain(error)
    except (typer.Abort, KeyboardInterrupt):
        code = interrupted()
    except typer.Exit as stop:
        code = stop.exit_code
    except Exception as error:
        code = unexpected(error)
    sys.stdout.flush()
    sys.exit(code or 0)
