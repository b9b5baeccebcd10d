"""Options and arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data",
        envvar="LUNGLINE_DATA",
        help="Folder that holds the raw datasets; what is in it is never changed.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of a table.")]
RecipeArgument = Annotated[str, typer.Argument(help="A recipe's name, or the path of a YAML file.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a recipe key, e.g. training.epochs=3."),
]
StackArgument = Annotated[
    str, typer.Argument(metavar="NAME|FILE", help="A stack that comes with Lungline, or the path of a YAML file.")
]
StackOption = Annotated[
    str | None,
    typer.Option("--stack", metavar="NAME|FILE", help="Where it runs; else on ZenML's active stack."),
]
VersionArgument = Annotated[str, typer.Argument(metavar="VERSION", help="Number of a registered version.")]
# A decision is a person's act: none of its options can be given by an environment variable.
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why, in a sentence of at least 10 characters.")
]
ModelOption = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="Needed where several models could be meant.")
]
DossierOption = Annotated[
    str | None,
    typer.Option(
        "--dossier", metavar="HASH", help="First 8 digits or more of the dossier's hash; else asked for."
    ),
]
