"""`lungline status`: which versions are champion and challenger, how the last runs ended, the last drift verdicts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from models.registry.decisions.entries import utc_text
from models.registry.status import ModelStatus, VersionSummary
from pipelines.commands.decision_log import print_findings
from pipelines.commands.output import console, print_json, print_table
from pipelines.environment import prepare_environment
from pipelines.recipe import load_recipe, recipe_names

if TYPE_CHECKING:
    from models.monitoring.last_verdict import LastVerdict

RECENT = 5


def status(as_json: bool) -> None:
    """Models of the built-in recipes and of every recipe that ever ran."""
    environment = prepare_environment()
    from models.monitoring.last_verdict import last_verdicts
    from models.registry.decisions.history import models_in
    from models.registry.decisions.recovery import recover
    from models.registry.decisions.watchdog import verify
    from models.registry.follow import tracking_store
    from models.registry.status import model_status, recent_runs

    store = tracking_store(environment.workspace)
    for note in recover(environment.workspace, store):
        print(f"Note: {note}.", file=sys.stderr)
    inspection = verify(environment.workspace, store)
    runs = recent_runs(store, RECENT)
    known = dict.fromkeys([*(load_recipe(name).model_name for name in recipe_names())])
    known |= dict.fromkeys(f"lungline-{run.experiment}" for run in runs)
    lines = inspection.reading.lines
    known |= dict.fromkeys(models_in(lines))
    models = [model_status(store, name, lines) for name in known]
    drift = last_verdicts(environment.workspace, known)
    if as_json:
        print_json(
            {
                "models": [model.model_dump(mode="json") for model in models],
                "findings": [finding.model_dump(mode="json") for finding in inspection.findings],
                "runs": [run.model_dump(mode="json") for run in runs],
                "drift": [verdict.model_dump(mode="json") for verdict in drift],
                "tracking": environment.tracking_uri,
            }
        )
        return
    rows = [
        (
            model.name,
            _number(model.champion),
            _number(model.previous),
            _number(model.challenger),
            _headline(model.challenger.metrics) if model.challenger else "",
        )
        for model in models
    ]
    print_table(("model", "champion", "previous", "challenger", "challenger on test"), rows)
    console().print()
    _print_decisions(models)
    print_findings(inspection.findings)
    if runs:
        rows = [(run.pipeline_run, run.experiment, run.status.lower(), run.started_at) for run in runs]
        print_table(("run", "recipe", "ended", "started (UTC)"), rows)
    else:
        console().print("No training run yet: `lungline train quickstart` makes one.")
    console().print()
    _print_drift(drift)


def _print_drift(drift: list[LastVerdict]) -> None:
    """The last verdict on each model that has one."""
    if not drift:
        console().print("Drift: no verdict yet; `lungline monitor` gives one.")
        return
    rows = [
        (
            one.model,
            f"version {one.version}",
            f"{one.since} – {one.until}",
            f"{one.images:,}",
            one.verdict,
            ", ".join(one.over_the_limit),
        )
        for one in drift
    ]
    print_table(
        ("last drift verdict", "", "window (until excluded)", "#images", "verdict", "over the limit"), rows
    )


def _print_decisions(models: list[ModelStatus]) -> None:
    """The latest decision about each model that has one."""
    latest = [model.decisions[0] for model in models if model.decisions]
    if latest:
        rows = [(d.model, d.kind, d.version or "", str(d.person), utc_text(d.time)) for d in latest]
        print_table(("last decision", "", "version", "by", "at"), rows)
        console().print()


def _number(version: VersionSummary | None) -> str:
    return f"version {version.version}" if version else "none"


def _headline(metrics: dict[str, float]) -> str:
    value = metrics.get("test_macro_auc")
    return f"macro AUC {value:.3f}" if value is not None else ""
