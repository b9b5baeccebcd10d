"""`lungline status`, `review` and what people decide: approve, reject, rollback, and their log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import DossierOption, JsonOption, ModelOption, ReasonOption, VersionArgument

PANEL = "Review and decide"
commands = typer.Typer()

log_app = typer.Typer(help="The decision log: who made which version the champion, and why.", no_args_is_help=True)
commands.add_typer(log_app, name="log", rich_help_panel=PANEL)


@commands.command(rich_help_panel=PANEL)
def status(as_json: JsonOption = False) -> None:
    """Show champion and challenger of each registered model, and the last runs."""
    from pipelines.commands.status import status as run

    run(as_json)


@commands.command(rich_help_panel=PANEL)
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


@commands.command(rich_help_panel=PANEL)
def replay(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="A version number, champion or challenger.")],
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure a version again from its bundle and image store; 4 where it comes to something else."""
    from pipelines.commands.replay import replay as run

    raise typer.Exit(run(version, model, as_json))


@commands.command(rich_help_panel=PANEL)
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


@commands.command(rich_help_panel=PANEL)
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


@commands.command(rich_help_panel=PANEL)
def rollback(reason: ReasonOption, model: ModelOption = None, as_json: JsonOption = False) -> None:
    """Put the champion back to the one before, or to the decided one where somebody else moved it."""
    from pipelines.commands.decide import rollback as run

    run(reason, model, as_json)


@log_app.command("verify")
def log_verify(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="An exported copy; else the log in use."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check the decision log for changes, and the registry against it; 4 where something was changed."""
    from pipelines.commands.decision_log import verify_log

    raise typer.Exit(verify_log(file, as_json))


@log_app.command("move")
def log_move(as_json: JsonOption = False) -> None:
    """Carry the decision log from its file into the database that LUNGLINE_DECISIONS_URL names."""
    from pipelines.commands.decision_log import move_log

    move_log(as_json)


@log_app.command("export")
def log_export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="To write; its head goes beside it.")],
    as_json: JsonOption = False,
) -> None:
    """Write a copy of the decision log, to be kept where those who decide cannot write."""
    from pipelines.commands.decision_log import export_log

    export_log(file, as_json)
