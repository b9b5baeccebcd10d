"""How commands print: tables for people, one JSON document for machines, never wider than a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout

from rich.console import Console
from rich.table import Table

WIDTH = 100  # where there is no terminal to ask


def console() -> Console:
    """Standard output; plain text when it is not a terminal."""
    stream = Console(highlight=False)
    return stream if stream.is_terminal else Console(highlight=False, width=WIDTH)


def document_alone(wanted: bool) -> AbstractContextManager[object]:
    """Within, where that is wanted, standard output is for `print_json` alone.

    A ZenML that a person configured prints its own log there, and a program could not read the document.
    """
    return redirect_stdout(sys.stderr) if wanted else nullcontext()


def print_json(document: object) -> None:
    stream = sys.__stdout__ if sys.stdout is sys.stderr else sys.stdout
    print(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False), file=stream)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Numbers are strings already; columns whose heading starts with "#" are right-aligned."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading.removeprefix("#"), justify="right" if heading.startswith("#") else "left")
    for row in rows:
        table.add_row(*row)
    console().print(table)
