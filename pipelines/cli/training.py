"""`lungline data`, `train`, `retrain` and `schedule`: from raw datasets to a registered version."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli.options import DataOption, JsonOption, RecipeArgument, SetOption, StackOption

PANEL = "Train"
commands = typer.Typer()
Task = Literal["train", "monitor", "retrain"]  # what a schedule runs

data_app = typer.Typer(
    help="Datasets: what is there, downloads, a phantom to try with, and the image store.", no_args_is_help=True
)
commands.add_typer(data_app, name="data", rich_help_panel=PANEL)


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


@commands.command(rich_help_panel=PANEL)
def train(
    recipe: RecipeArgument,
    data: DataOption = None,
    overrides: SetOption = None,
    stack: StackOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train every architecture of a recipe, compare them, and register the best as the challenger."""
    from pipelines.commands.train import train as run

    run(recipe, data, overrides or [], as_json, stack)


@commands.command(rich_help_panel=PANEL)
def retrain(
    target: Annotated[
        str, typer.Argument(metavar="MODEL|RECIPE", help="A recipe's name or file, or the model that it trains.")
    ],
    data: DataOption = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            metavar="FILE",
            exists=True,
            help="Decisions of people about labels, below the data folder.",
        ),
    ] = None,
    overrides: SetOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen; write and train nothing.")
    ] = False,
    show: Annotated[bool, typer.Option("--status", help="Show the journal's state; look at no data.")] = False,
    reset: Annotated[
        bool, typer.Option("--reset-circuit", help="Let retraining go on after setbacks, in your name.")
    ] = False,
    reason: Annotated[
        str,
        typer.Option("--reason", metavar="TEXT", help="Why the circuit may be closed; goes with --reset-circuit."),
    ] = "",
    require: Annotated[
        bool, typer.Option("--require", help="End with 4 where a brake holds the training.")
    ] = False,
    stack: StackOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train again where drift asked for it, new labels arrived and no brake holds; say which does.

    Drift alone never trains: it asks, once per episode, and a training starts when labels have arrived that no version
    learned from. Ends with 0 whether it trained or there was nothing to do; a training that fails ends as train does.
    """
    from pipelines.commands import retrain as command

    if reset:
        command.reset_circuit(target, reason, overrides or [], as_json)
    elif show:
        command.show_status(target, overrides or [], as_json)
    else:
        raise typer.Exit(
            command.retrain(
                *(target, data, labels, overrides or []),
                dry_run=dry_run,
                require=require,
                as_json=as_json,
                stack=stack,
            )
        )


@commands.command(rich_help_panel=PANEL)
def schedule(
    recipe: Annotated[
        str | None,
        typer.Argument(metavar="RECIPE|list|remove", help="A recipe's name or file; or the word list, or remove."),
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Of the schedule to remove.")] = None,
    cron: Annotated[
        str | None, typer.Option("--cron", metavar="EXPRESSION", help='Five fields, e.g. "0 3 * * *".')
    ] = None,
    task: Annotated[Task, typer.Option("--for", help="What runs at those times.")] = "train",
    data: DataOption = None,
    stack: StackOption = None,
    show: Annotated[bool, typer.Option("--list", help="Show what the stack runs at set times.")] = False,
    remove: Annotated[
        str | None, typer.Option("--remove", metavar="NAME", help="Take a schedule off the stack.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a recipe at set times: on a stack that can, else by the crontab line or systemd timer printed here.

    Nothing is installed on this machine. On Kubernetes, training becomes a CronJob that never overlaps itself.
    """
    from pipelines.commands import schedule as command

    if show or recipe == "list":
        command.list_schedules(as_json, stack)
    elif remove is not None or (recipe == "remove" and name is not None):
        command.remove(remove or name or "", as_json, stack)
    elif name is not None:
        raise typer.BadParameter(f"{name!r} follows a recipe; only `lungline schedule remove` takes a name.")
    else:
        command.schedule(recipe, cron, task, data, as_json, stack)
