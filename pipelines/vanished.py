"""Steps taken from the cache whose artefacts are gone: noticed after a run, and not taken from the cache again.

ZenML takes a step from the cache by what its database says. Looking only after a run costs a warm run least: what was
deleted is seen whether the run failed over it or never read it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from zenml.client import Client

if TYPE_CHECKING:
    from zenml.artifact_stores import BaseArtifactStore
    from zenml.models import StepRunResponse


def forget_vanished(run_name: str) -> list[str]:
    """Names of the run's cached steps whose artefacts are gone; the next run makes them again. None for no such run."""
    client = Client()
    found = client.list_pipeline_runs(name=run_name).items
    if not found:
        return []
    store = client.active_stack.artifact_store
    cached = client.list_run_steps(pipeline_run_id=found[0].id, status="cached", hydrate=True, size=1000)
    if (remote := getattr(store, "filesystem", None)) is not None:
        remote.invalidate_cache()  # s3fs keeps what it listed earlier in this process
    vanished = [step for step in cached if not _is_complete(step, store)]
    for step in vanished:
        if step.original_step_run_id:
            client.update_step_run(step.original_step_run_id, cache_expires_at=datetime.now(UTC))
    return sorted(step.name for step in vanished)


def _is_complete(step: StepRunResponse, store: BaseArtifactStore) -> bool:
    """Whether each output still has a folder with something in it."""
    return all(_holds_something(str(one.uri), store) for some in step.outputs.values() for one in some)


def _holds_something(uri: str, store: BaseArtifactStore) -> bool:
    try:
        return bool(store.listdir(uri))
    except FileNotFoundError:
        return False
