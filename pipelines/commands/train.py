"""`lungline train`: run a recipe and print who won, how sure that is, and where to read more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.reports import formatting
from models.reports.leaderboard import leaderboard_rows
from pipelines.commands.output import console, print_json, print_table
from pipelines.environment import prepare_environment
from pipelines.recipe import load_recipe


def train(
    recipe_name: str, data: Path | None, overrides: Sequence[str], as_json: bool, stack: str | None = None
) -> None:
    """Train, print the leaderboard, and name the report and the registered version. stack: else the active one."""
    recipe = load_recipe(recipe_name, overrides)
    environment = prepare_environment()
    from pipelines.runner import run_training

    result = run_training(recipe, data, environment.workspace, stack)
    version = result.registered
    if as_json:
        print_json(
            {
                "run": result.run,
                "selection": result.selection.model_dump(mode="json"),
                "evaluations": [read.model_dump(mode="json") for read in result.evaluations],
                "baselines": [read.model_dump(mode="json") for read in result.baselines],
                "registered": version.model_dump(mode="json"),
                "report": str(result.report),
                "trained": result.trained,
            }
        )
        return
    read = [*result.evaluations, *result.baselines]
    rows = leaderboard_rows([one.test for one in read], result.selection.winner)
    metric = recipe.evaluation.primary_metric
    external = any(one.external for one in read)
    print_table(
        (
            "",
            "",
            f"#{metric} on test",
            "#balanced accuracy",
            "#n",
            *([f"#{metric} on external"] if external else []),
        ),
        [
            (
                *("→" if row.winner else "", row.architecture, row.primary, row.balanced_accuracy, row.n),
                *([formatting.estimate(one.external.primary)] if one.external else []),
            )
            for row, one in zip(rows, read, strict=True)
        ],
    )
    console().print(f"\n{result.selection.why}")
    if not result.trained:
        console().print("nothing had changed: every architecture came from the cache")
    console().print(f"registered  {version.name} version {version.version}, alias {version.alias}")
    console().print(f"report      {result.report}", soft_wrap=True)
    console().print(f"tracking    {environment.tracking_uri}", soft_wrap=True)
