"""The `lungline` command: parses the line, runs the command, and turns errors into words and exit codes.

Commands live in pipelines/commands and are imported when called, so that `--help` needs neither torch nor ZenML.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from data_contracts.errors import EnvironmentProblem, LunglineError
from data_contracts.redaction import RedactedRecord, redact
from pipelines.commands.output import document_alone

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
stack_app = typer.Typer(
    help="Where pipelines run: stacks kept as files, registered with ZenML.", no_args_is_help=True
)
app.add_typer(stack_app, name="stack")

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
Task = Literal["train", "monitor", "retrain"]  # what a schedule runs
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


@app.command()
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
    stack: StackOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train every architecture of a recipe, compare them, and register the best as the challenger."""
    from pipelines.commands.train import train as run

    run(recipe, data, overrides or [], as_json, stack)


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


@app.command()
def score(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Images, or folders that hold them.")],
    model: ModelOption = None,
    source: Annotated[
        str, typer.Option("--source", metavar="NAME", help="Where the images come from, e.g. a hospital.")
    ] = "",
    facts: Annotated[
        Path | None,
        typer.Option(
            "--facts", metavar="FILE.csv", help="Columns: file, patient, view, age, sex, taken_on, source."
        ),
    ] = None,
    taken_on: Annotated[
        str, typer.Option("--taken-on", metavar="DATE", help="Day of the examinations; else the day of scoring.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Answer images with the approved champion, and log every prediction once."""
    from pipelines.commands.score import score as run

    run(paths, model, source, facts, taken_on, as_json)


@app.command()
def serve(
    model: ModelOption = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; beyond loopback a token is needed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 lets the system choose.")] = 8080,
    token_file: Annotated[
        Path | None,
        typer.Option(envvar="LUNGLINE_SERVE_TOKEN_FILE", help="File with the token that callers must present."),
    ] = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Ask nobody for a token, wherever it listens.")
    ] = False,
    max_bytes: Annotated[int, typer.Option(min=1024, help="Bytes of one request.")] = 32 << 20,
    max_pixels: Annotated[int, typer.Option(min=1024, max=64_000_000, help="Pixels of one picture.")] = 64_000_000,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Requests scored at once.")] = 2,
    queue: Annotated[int, typer.Option(min=0, help="Requests that wait for one; beyond it 429.")] = 32,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one request.")] = 30,
    grace: Annotated[float, typer.Option(min=0, help="Seconds to finish in after SIGTERM.")] = 20,
    reload_seconds: Annotated[
        float, typer.Option("--reload", min=0.1, help="Seconds between looks for another champion.")
    ] = 10,
) -> None:
    """Answer pictures over HTTP with the approved champion, and log every prediction."""
    from pipelines.commands.serve import serve as run

    run(
        model,
        token_file,
        no_auth,
        host=host,
        port=port,
        max_bytes=max_bytes,
        max_pixels=max_pixels,
        concurrency=concurrency,
        queue=queue,
        timeout=timeout,
        grace=grace,
        reload_seconds=reload_seconds,
    )


@app.command()
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


@app.command()
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


@app.command()
def monitor(
    model: ModelOption = None,
    window: Annotated[
        str, typer.Option("--window", metavar="LENGTH", help="So many images, e.g. 500, or days, e.g. 7d.")
    ] = "500",
    since: Annotated[
        str | None, typer.Option("--since", metavar="DATE", help="First day of one window; with --until.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="DATE", help="The day after its last.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", metavar="FILE.csv", help="Columns image_id, label: what turned out to be true."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge the windows of scored images that closed: 0 quiet, 10 alarm, 11 too few images."""
    from pipelines.commands.monitor import monitor as run

    raise typer.Exit(run(model, window, since, until, labels, as_json))


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


@app.command()
def dashboard(
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, help="Of Evidently's page; else a free one.")
    ] = None,
    mlflow_port: Annotated[
        int | None, typer.Option("--mlflow-port", min=1, max=65535, help="Of MLflow's page; else a free one.")
    ] = None,
    zenml_port: Annotated[
        int | None, typer.Option("--zenml-port", min=1, max=65535, help="Of ZenML's page; else a free one.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Stop as soon as every page has answered.")] = False,
) -> None:
    """Show drift (Evidently) and experiments (MLflow) in the browser, on this machine only, until Ctrl-C."""
    from pipelines.commands.dashboard import dashboard as run

    raise typer.Exit(run(port, mlflow_port, zenml_port, check))


def main() -> None:
    """Entry point: exit codes as documented, no traceback unless --debug, and no secret in an error or a log."""
    logging.setLogRecordFactory(RedactedRecord)
    try:
        with document_alone("--json" in sys.argv):
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
    _print_error(f"Error: {error.what}\n  Why it matters: {error.why}\n  What to do: {error.cure}")
    return error.exit_code


def _interrupted() -> int:
    print("Interrupted. What was finished is kept; run the same command again to go on.", file=sys.stderr)
    return INTERRUPTED


def _unexpected(error: Exception) -> int:
    """Usage errors of the parser, signals that ZenML caught first, a full disk, and everything nobody foresaw."""
    if type(error).__name__ in ("RunInterruptedException", "RunStoppedException"):
        return _interrupted()
    if hasattr(error, "exit_code") and hasattr(error, "format_message"):
        _print_error(f"Error: {error.format_message()}\n  What to do: see `lungline --help`.")
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


if __name__ == "__main__":
    main()
