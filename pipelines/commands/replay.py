"""`lungline replay`: measure a version again and say whether it comes to the same, and where it first differs."""

from __future__ import annotations

from data_contracts.errors import UsageProblem
from pipelines.commands.output import console, print_json, print_table
from pipelines.environment import prepare_environment

SAME, MODEL_GATE = 0, 4


def replay(version: str, model: str | None, as_json: bool) -> int:
    """Replay and print; 4 where the result is different. version: a number, champion or challenger."""
    environment = prepare_environment()
    from models.registry.decisions.aliases import models_with_version
    from models.registry.follow import tracking_store
    from models.review.replay import replay as run
    from models.review.versions import open_version

    store = tracking_store(environment.workspace)
    name = model or _only(models_with_version(store, version) if version.isdecimal() else [], version)
    done = run(open_version(environment.workspace, store, name, version), environment.workspace.stores)
    if as_json:
        print_json(done.model_dump(mode="json"))
    else:
        console().print(f"{done.outcome}  {name} version {done.version}, {done.images:,} images\n", markup=False)
        print_table(
            ("what", "outcome", "first difference"), [(s.name, s.outcome, s.first_difference) for s in done.stages]
        )
        if done.changed_packages:
            console().print(f"\nother packages now: {', '.join(done.changed_packages)}", markup=False)
    return MODEL_GATE if done.outcome == "different" else SAME


def _only(names: list[str], version: str) -> str:
    if len(names) == 1:
        return names[0]
    raise UsageProblem(
        f"Several models have a version {version}: {', '.join(names)}." if names else f"Which model's {version}?",
        why="A replay is of one version of one model.",
        cure="Name the model with --model; `lungline status` lists the models and versions there are.",
    )
