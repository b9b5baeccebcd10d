"""`lungline score`, `serve`, `monitor` and `dashboard`: the champion at work, and what is seen of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import JsonOption, ModelOption

PANEL = "Score and watch"
commands = typer.Typer()


@commands.command(rich_help_panel=PANEL)
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


@commands.command(rich_help_panel=PANEL)
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


@commands.command(rich_help_panel=PANEL)
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


@commands.command(rich_help_panel=PANEL)
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
