"""`lungline review`: hold the challenger against the champion and print the verdict, its reasons and the dossier."""

from __future__ import annotations

from pathlib import Path

from data_contracts.errors import UsageProblem
from pipelines.commands.output import console, print_json, print_table
from pipelines.environment import prepare_environment
from pipelines.recipe import CHANGE_PLAN

PROMOTE, MODEL_GATE = 0, 4
_OUTCOME = {"pass": "passed", "hold": "needs a person", "reject": "FAILED"}


def review(model: str | None, challenger: str | None, plan: Path | None, as_json: bool) -> int:
    """Review and print; 0 only where the verdict is PROMOTE, so that no script goes on over a HOLD."""
    from models.review.change_plan import read_change_plan

    planned = read_change_plan(plan or CHANGE_PLAN)
    environment = prepare_environment()
    from models.registry.follow import tracking_store
    from models.registry.review_note import models_with_challenger
    from pipelines.review import run_review

    name = model or _only(models_with_challenger(tracking_store(environment.workspace)))
    result = run_review(name, challenger, planned)
    found = result.review
    if as_json:
        print_json({"run": result.run, "review": found.model_dump(mode="json"), "dossier": str(result.dossier)})
    else:
        against = f"version {found.champion}" if found.champion else "no champion"
        console().print(f"{found.verdict}  {name} version {found.challenger} against {against}\n", markup=False)
        print_table(("gate", "outcome", "because"), [(g.title, _OUTCOME[g.outcome], g.why) for g in found.gates])
        console().print(f"\ndossier     {result.dossier / 'index.html'}", soft_wrap=True, markup=False)
        console().print(
            f"to decide   lungline approve|reject {found.challenger} --model {name} --dossier {result.dossier.name} "
            '--reason "…"',
            soft_wrap=True,
            markup=False,
        )
    return PROMOTE if found.verdict == "PROMOTE" else MODEL_GATE


def _only(names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    raise UsageProblem(
        f"Several models have a challenger: {', '.join(names)}." if names else "No model has a challenger.",
        why="A review is about one model.",
        cure="Name it with --model." if names else "`lungline train RECIPE` makes one.",
    )
