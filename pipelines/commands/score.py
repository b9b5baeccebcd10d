"""`lungline score`: images answered by the champion, logged once each, and what was refused and why."""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.commands.output import console, print_json, print_table
from pipelines.environment import prepare_environment


def score(
    paths: list[Path], model: str | None, source: str, facts: Path | None, taken_on: str, as_json: bool
) -> None:
    """Score and print; refused images are counted and do not make the command fail."""
    from models.scoring.batch import ScoringRequest, check_request

    request = ScoringRequest(
        paths=[path.absolute() for path in paths],
        source=source,
        facts=facts.absolute() if facts else None,
        taken_on=taken_on,
    )
    check_request(request)
    environment = prepare_environment()
    from models.registry.decisions.recovery import recover
    from models.registry.follow import tracking_store
    from models.scoring.champion import decided_champion, only_model
    from pipelines.scoring import run_scoring

    store = tracking_store(environment.workspace)
    for note in recover(environment.workspace, store):
        print(f"Note: {note}.", file=sys.stderr)
    name = model or only_model(store)
    decided_champion(environment.workspace, name)
    result = run_scoring(name, request, environment.workspace)
    done = result.summary
    if as_json:
        print_json({"run": result.run, **done.model_dump(mode="json")})
        return
    refused = sum(done.refused.values())
    console().print(f"{done.model} version {done.version}: {done.files:,} images\n", markup=False)
    print_table(
        ("", "#images"),
        [
            ("scored", f"{done.scored:,}"),
            *((f"  {name}", f"{count:,}") for name, count in done.predicted.items()),
            ("known before", f"{done.known:,}"),
            ("refused, not scored", f"{refused:,}"),
            *((f"  {reason}", f"{count:,}") for reason, count in done.refused.items()),
        ],
    )
    notes = [
        (done.abstained, "of the scored are between two thresholds: a person has to read them"),
        (done.others, "files in the folders are no images and were passed over"),
        (done.unmatched_facts, "lines of the facts name none of the images"),
    ]
    for count, what in notes:
        if count:
            console().print(f"{count:,} {what}", markup=False)
    console().print(f"\nprediction log   {done.log}", soft_wrap=True, markup=False)
