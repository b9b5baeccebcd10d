"""How commands print: tables for people, one JSON document for machines, never wider than a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

WIDTH = 100  # where there is no terminal to ask


def console() -> Console:
    """Standard output; plain text when it is not a terminal."""
    stream = Console(highlight=False)
    return stream if stream.is_terminal else Console(highlight=False, width=WIDTH)


def print_json(document: object) -> None:
    print(json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], title: str = "") -> None:
    """Numbers are strings already; columns whose heading starts with "#" are right-aligned."""
    table = Table(title=title or None, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading.removeprefix("#"), justify="right" if heading.startswith("#") else "left")
    for row in rows:
        table.add_row(*row)
    console().print(table)
