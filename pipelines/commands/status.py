"""`lungline status`: which versions are champion and challenger, and how the last runs ended."""

from __future__ import annotations

from pipelines.commands.output import console, print_json, print_table
from pipelines.environment import prepare_environment
from pipelines.recipe import load_recipe, recipe_names

RECENT = 5


def status(as_json: bool) -> None:
    """Models of the built-in recipes and of every recipe that ever ran; no drift verdict exists yet, and it says so."""
    environment = prepare_environment()
    from models.registry.follow import tracking_store
    from models.registry.status import model_status, recent_runs

    store = tracking_store(environment.workspace)
    runs = recent_runs(store, RECENT)
    known = dict.fromkeys([*(load_recipe(name).model_name for name in recipe_names())])
    known |= dict.fromkeys(f"lungline-{run.experiment}" for run in runs)
    models = [model_status(store, name) for name in known]
    if as_json:
        print_json(
            {
                "models": [model.model_dump(mode="json") for model in models],
                "runs": [run.model_dump(mode="json") for run in runs],
                "drift": None,
                "tracking": environment.tracking_uri,
            }
        )
        return
    rows = [
        (
            model.name,
            f"version {model.champion.version}" if model.champion else "none",
            f"version {model.challenger.version}" if model.challenger else "none",
            _headline(model.challenger.metrics) if model.challenger else "",
        )
        for model in models
    ]
    print_table(("model", "champion", "challenger", "challenger on test"), rows)
    console().print()
    if runs:
        rows = [(run.pipeline_run, run.experiment, run.status.lower(), run.started_at) for run in runs]
        print_table(("run", "recipe", "ended", "started (UTC)"), rows)
    else:
        console().print("No training run yet: `lungline train quickstart` makes one.")
    console().print("\nDrift: no verdict yet.")


def _headline(metrics: dict[str, float]) -> str:
    value = metrics.get("test_macro_auc")
    return f"macro AUC {value:.3f}" if value is not None else ""
