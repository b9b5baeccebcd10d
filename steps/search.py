"""Searches for one architecture's hyper-parameters before it is trained in full."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

from zenml import get_step_context, log_metadata, step

from data_contracts.catalog import Catalog
from data_contracts.expectations.report import ValidationReport
from data_contracts.image_store import ImageStore
from data_contracts.workspace import Workspace
from models.training.search.results import SearchResult
from models.training.search.settings import SearchSettings
from steps.caching import ROOT, cached_on, library_versions
from steps.progress import progress, say

_DEPENDS_ON = cached_on("models.training.search.candidate", "data_contracts.ontology", "data_contracts.targets")


@step(cache_policy=_DEPENDS_ON)
def search(
    image_store: ImageStore,
    catalog: Catalog,
    split_validation: ValidationReport,
    shaped_by: dict[str, Any],
    settings: dict[str, Any],
    metric: str,
) -> tuple[Annotated[SearchResult, "search"], Annotated[dict[str, Any], "shaped_by"]]:
    """The trials, and the recipe sections with what they found; an interrupted search goes on where it was.

    shaped_by: the recipe sections that matter. settings: the search section. metric: the recipe's primary metric.
    """
    from models.registry.follow_search import follow_search
    from models.training.search.candidate import search_candidate, with_findings
    from steps.training_copies import feature_cache

    chosen, name = SearchSettings(**settings), shaped_by["architecture"]["name"]
    run = get_step_context().pipeline_run.name
    with (
        progress(f"search {name}") as report,
        follow_search(Workspace.current(), run, shaped_by, chosen, metric) as tracked,
    ):

        def on_trial(trial: Any) -> None:
            reached = trial.state if trial.value is None else f"{trial.value:.3f}"
            report(trial.number, chosen.trials, f"validation {metric} {reached}")
            tracked.log_trial(trial)

        result = search_candidate(
            image_store,
            catalog,
            shaped_by,
            chosen,
            study_folder(image_store, catalog, shaped_by, settings, metric),
            metric=metric,  # type: ignore[arg-type]
            on_trial=on_trial,
            say=lambda line: say(f"search {name}: {line}"),
            features=feature_cache(image_store),
        )
        tracked.seal(result)
    log_metadata({"trials": len(result.trials), f"best_{metric}": result.best_trial.value or 0.0})
    return result, with_findings(shaped_by, result)


def study_folder(
    image_store: ImageStore, catalog: Catalog, shaped_by: dict[str, Any], settings: dict[str, Any], metric: str
) -> Path:
    """Where a study is kept: another folder as soon as data, settings, code or libraries differ.

    More trials or more time continue the same study.
    """
    code = {
        file: hashlib.sha256((ROOT / file).read_bytes()).hexdigest()
        for file in _DEPENDS_ON.file_dependencies or []
    }
    space = {name: value for name, value in settings.items() if name not in ("trials", "timeout_minutes")}
    decisive = [
        shaped_by,
        space,
        metric,
        image_store.content_hash,
        catalog.content_hash(),
        code,
        library_versions(),
    ]
    key = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()
    return Workspace.current().cache / "searches" / key[:32]
