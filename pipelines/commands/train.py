"""`lungline train`: run a recipe and print who won, how sure that is, and where to read more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.reports.leaderboard import leaderboard_rows
from pipelines.commands.output import console, print_json, print_table
from pipelines.environment import prepare_environment
from pipelines.recipe import load_recipe


def train(recipe_name: str, data: Path | None, overrides: Sequence[str], as_json: bool) -> None:
    """Train, print the leaderboard, and name the report and the registered version."""
    recipe = load_recipe(recipe_name, overrides)
    environment = prepare_environment()
    from pipelines.runner import run_training

    result = run_training(recipe, data, environment.workspace)
    version = result.registered
    if as_json:
        print_json(
            {
                "run": result.run,
                "selection": result.selection.model_dump(mode="json"),
                "evaluations": [evaluation.model_dump(mode="json") for evaluation in result.evaluations],
                "registered": version.model_dump(mode="json"),
                "report": str(result.report),
                "trained": result.trained,
            }
        )
        return
    rows = leaderboard_rows(result.evaluations, result.selection.winner)
    print_table(
        ("", "architecture", f"#{recipe.evaluation.primary_metric} on test", "#balanced accuracy", "#n"),
        [("→" if row.winner else "", row.architecture, row.primary, row.balanced_accuracy, row.n) for row in rows],
    )
    console().print(f"\n{result.selection.why}")
    if not result.trained:
        console().print("nothing had changed: every architecture came from the cache")
    console().print(f"registered  {version.name} version {version.version}, alias {version.alias}")
    console().print(f"report      {result.report}", soft_wrap=True)
    console().print(f"tracking    {environment.tracking_uri}", soft_wrap=True)
