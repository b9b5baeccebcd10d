"""The `lungline` command: parses the line, runs the command, and turns errors into words and exit codes.

Commands live in pipelines/commands and are imported when called, so that `--help` needs neither torch nor ZenML.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from data_contracts.errors import EnvironmentProblem, LunglineError

INTERRUPTED = 7
_TYPER_INTERRUPTED = 130  # what typer makes of Ctrl-C
UNEXPECTED = 1

app = typer.Typer(
    name="lungline",
    help="Retrain, review and watch chest X-ray classifiers. Not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(
    help="Datasets: what is there, downloads, a phantom to try with, and the image store.", no_args_is_help=True
)
app.add_typer(data_app, name="data")
log_app = typer.Typer(help="The decision log: who made which version the champion, and why.", no_args_is_help=True)
app.add_typer(log_app, name="log")

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


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if debug:
        os.environ["LUNGLINE_DEBUG"] = "1"


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Check this machine: versions, GPU, disk, stack, tracking; say what is wrong and how to mend it."""
    from pipelines.commands.doctor import doctor as run

    raise typer.Exit(run(as_json))


@data_app.command("list")
def data_list(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show the datasets Lungline reads and which of them lie in the data folder."""
    from pipelines.commands.data import list_sources

    list_sources(data, as_json)


@data_app.command("phantom")
def data_phantom(
    folder: Annotated[Path, typer.Argument(help="Folder to write to; must not exist, or hold the same phantom.")],
    images: Annotated[int, typer.Option(min=40, help="How many images over all three datasets.")] = 480,
    size: Annotated[int, typer.Option(min=64, max=2048, help="Side of an image in pixels.")] = 256,
    seed: Annotated[int, typer.Option(min=0)] = 7,
) -> None:
    """Draw procedural chest X-rays in the raw layouts of radiography, mendeley and nih."""
    from pipelines.commands.data import make_phantom

    make_phantom(folder, images=images, size=size, seed=seed)


@data_app.command("fetch")
def data_fetch(
    sources: Annotated[
        list[str], typer.Argument(metavar="SOURCE...", help="Published datasets; `lungline data list` names them.")
    ],
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download published datasets into the data folder: resumed, verified, safely unpacked."""
    from pipelines.commands.fetch import fetch

    raise typer.Exit(fetch(sources, data, as_json))


@data_app.command("build")
def data_build(recipe: RecipeArgument, data: DataOption = None, overrides: SetOption = None) -> None:
    """Run the data part of a recipe: ingest, decode, identify, validate, split."""
    from pipelines.commands.data import build

    build(recipe, data, overrides or [])


@app.command()
def train(
    recipe: RecipeArgument,
    data: DataOption = None,
    overrides: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train every architecture of a recipe, compare them, and register the best as the challenger."""
    from pipelines.commands.train import train as run

    run(recipe, data, overrides or [], as_json)


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show champion and challenger of each registered model, and the last runs."""
    from pipelines.commands.status import status as run

    run(as_json)


@app.command()
def review(
    model: ModelOption = None,
    challenger: Annotated[
        str | None,
        typer.Option("--challenger", metavar="VERSION", help="A version number; else the one called challenger."),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", metavar="FILE", help="A change plan; else the one beside the recipes."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold the challenger against the champion and write the dossier; 0 for PROMOTE, 4 for HOLD and REJECT."""
    from pipelines.commands.review import review as run

    raise typer.Exit(run(model, challenger, plan, as_json))


@app.command()
def replay(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A version number, champion or challenger.")],
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a version again from its bundle and image store; 4 where it comes to something else."""
    from pipelines.commands.replay import replay as run

    raise typer.Exit(run(version, model, as_json))


@app.command()
def approve(
    version: VersionArgument,
    reason: ReasonOption,
    model: ModelOption = None,
    dossier: DossierOption = None,
    override: Annotated[
        bool,
        typer.Option("--override", help="Decide against the verdict or an earlier refusal; recorded as such."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a reviewed version the champion, in your name."""
    from pipelines.commands.decide import approve as run

    run(version, reason, model, dossier, override, as_json)


@app.command()
def reject(
    version: VersionArgument,
    reason: ReasonOption,
    model: ModelOption = None,
    dossier: DossierOption = None,
    as_json: JsonOption = False,
) -> None:
    """Refuse a version, in your name; recorded like an approval."""
    from pipelines.commands.decide import reject as run

    run(version, reason, model, dossier, as_json)


@app.command()
def rollback(reason: ReasonOption, model: ModelOption = None, as_json: JsonOption = False) -> None:
    """Put the champion back to the one before, or to the decided one where somebody else moved it."""
    from pipelines.commands.decide import rollback as run

    run(reason, model, as_json)


@log_app.command("verify")
def log_verify(as_json: JsonOption = False) -> None:
    """Check the decision log for changes, and the registry against it; 4 where something was changed."""
    from pipelines.commands.decide import verify_log

    raise typer.Exit(verify_log(as_json))


def main() -> None:
    """Entry point: exit codes as documented, no traceback unless --debug."""
    try:
        code = app(standalone_mode=False)
        if code == _TYPER_INTERRUPTED:
            code = _interrupted()
    except LunglineError as error:
        code = _complain(error)
    except (typer.Abort, KeyboardInterrupt):
        code = _interrupted()
    except typer.Exit as stop:
        code = stop.exit_code
    except Exception as error:
        code = _unexpected(error)
    sys.stdout.flush()
    sys.exit(code or 0)


def _complain(error: LunglineError) -> int:
    _traceback_if_debugging()
    print(f"Error: {error.what}\n  Why it matters: {error.why}\n  What to do: {error.cure}", file=sys.stderr)
    return error.exit_code


def _interrupted() -> int:
    print("Interrupted. What was finished is kept; run the same command again to go on.", file=sys.stderr)
    return INTERRUPTED


def _unexpected(error: Exception) -> int:
    """Usage errors of the parser, signals that ZenML caught first, a full disk, and everything nobody foresaw."""
    if type(error).__name__ in ("RunInterruptedException", "RunStoppedException"):
        return _interrupted()
    if hasattr(error, "exit_code") and hasattr(error, "format_message"):
        print(f"Error: {error.format_message()}\n  What to do: see `lungline --help`.", file=sys.stderr)
        return int(error.exit_code)
    if isinstance(error, OSError) and error.errno == 28:
        return _complain(
            EnvironmentProblem(
                f"The disk is full ({error.filename or 'while writing'}).",
                why="The work could not be finished; nothing incomplete has a final name.",
                cure="Free some space, or set LUNGLINE_HOME to a larger disk, and run the same command again.",
            )
        )
    _traceback_if_debugging()
    print(
        f"Error: {type(error).__name__}: {error}\n  This is a defect in Lungline or in a library it uses."
        "\n  What to do: run the same command with `lungline --debug …` and report what it prints.",
        file=sys.stderr,
    )
    return UNEXPECTED


def _traceback_if_debugging() -> None:
    if os.environ.get("LUNGLINE_DEBUG"):
        import traceback

        traceback.print_exc()


if __name__ == "__main__":
    main()
