"""`lungline doctor`, `reconcile` and `stack`: what Lungline runs on."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import JsonOption, StackArgument

PANEL = "Where it runs"
commands = typer.Typer()

stack_app = typer.Typer(
    help="Where pipelines run: stacks kept as files, registered with ZenML.", no_args_is_help=True
)
commands.add_typer(stack_app, name="stack", rich_help_panel=PANEL)


@commands.command(rich_help_panel=PANEL)
def doctor(
    stack: Annotated[
        str | None,
        typer.Option("--stack", metavar="NAME|FILE", help="Look at this stack's services and cluster too."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check this machine: versions, GPU, disk, stack, tracking; say what is wrong and how to mend it."""
    from pipelines.commands.doctor import doctor as run

    raise typer.Exit(run(as_json, stack))


@commands.command(rich_help_panel=PANEL)
def reconcile(
    stack: Annotated[
        str | None, typer.Option("--stack", metavar="NAME", help="Only runs of this stack, by ZenML's name of it.")
    ] = None,
    older_than: Annotated[
        int | None,
        typer.Option(
            "--older-than",
            metavar="MINUTES",
            min=0,
            help="Close a run that nothing tells about once its last sign of life is older.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be closed; close nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Close runs that a kill or a lost pod left open, in ZenML and MLflow; what lives is left alone."""
    from pipelines.commands.reconcile import reconcile as run

    run(stack, older_than, dry_run, as_json)


@stack_app.command("apply")
def stack_apply(stack: StackArgument, as_json: JsonOption = False) -> None:
    """Register a stack with ZenML, or bring it up to date; what is as in the file is left alone."""
    from pipelines.commands.stack import apply

    apply(stack, as_json)


@stack_app.command("show")
def stack_show(stack: StackArgument, as_json: JsonOption = False) -> None:
    """Show a stack as its file describes it here, with variables filled in."""
    from pipelines.commands.stack import show

    show(stack, as_json)


@stack_app.command("check")
def stack_check(stack: StackArgument, as_json: JsonOption = False) -> None:
    """Say what keeps a run on a stack from working as its file says: 5 where there is anything."""
    from pipelines.commands.stack import check

    raise typer.Exit(check(stack, as_json))
