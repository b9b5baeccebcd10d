"""Reviewing one challenger on 1,000 test images: CPU seconds beyond inference, against a promise of 60.

Both versions and all their evidence are there; what is measured is comparison, gates, pages and sealing. Run with
`python -m tests.bench.bench_review`.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from models.registry.follow import tracking_store
from models.registry.versions import CHAMPION
from models.review.change_plan import read_change_plan
from models.review.dossier import dossier_files
from models.review.review import review
from models.review.versions import Pair, Version, find_pair
from pipelines.recipe import CHANGE_PLAN
from tests.bench.timing import cpu_seconds
from tests.reviewed_versions import (
    NAME,
    build_bundle,
    build_collection,
    evidence_of,
    recipe,
    register,
)

IMAGES, PROMISED_SECONDS = 2_500, 60.0


def main() -> int:
    """Measure, print, and return 1 where the promise is not kept."""
    plan = read_change_plan(CHANGE_PLAN)
    with tempfile.TemporaryDirectory() as scratch:
        collection = build_collection(Path(scratch), images=IMAGES)
        store = tracking_store(collection.workspace)
        for seed in (1, 2):
            bundle = build_bundle(collection, Path(scratch) / str(seed), seed)
            register(collection, bundle, evidence_of(collection, bundle))
            if seed == 1:
                store.client.set_registered_model_alias(NAME, CHAMPION, "1")
        pair = _with_default_settings(find_pair(collection.workspace, store, NAME, None))

        def conduct() -> None:
            dossier_files(pair, review(pair, plan, collection.workspace.stores), plan)

        found = review(pair, plan, collection.workspace.stores)
        seconds = cpu_seconds(conduct, repeats=2)
    assert found.comparison is not None
    verdict = "ok" if seconds < PROMISED_SECONDS else "MISSED"
    print(
        f"review of {found.comparison.n:,} test images: {seconds:.1f} CPU s of {PROMISED_SECONDS:.0f}  {verdict}"
    )
    return int(seconds >= PROMISED_SECONDS)


def _with_default_settings(pair: Pair) -> Pair:
    """2,000 resamples, as a recipe has that says nothing."""

    def plain(version: Version) -> Version:
        return replace(version, evidence=replace(version.evidence, recipe={**recipe(), "review": {}}))

    assert pair.champion is not None
    return replace(pair, challenger=plain(pair.challenger), champion=plain(pair.champion))


if __name__ == "__main__":
    sys.exit(main())
