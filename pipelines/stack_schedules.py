"""Schedules of the active ZenML stack, where its orchestrator can run a pipeline at set times by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zenml.client import Client
from zenml.config.schedule import Schedule

from data_contracts.errors import ExternalServiceError, LunglineError, UsageProblem
from data_contracts.sources import fingerprint
from pipelines.recipe import Recipe

# Of a stack without a file: a start that was missed for longer is left to the next; two runs at once would fight for
# the same GPU and registry.
_CRON_JOB = {"concurrency_policy": "Forbid", "starting_deadline_seconds": 3600}


@dataclass(frozen=True, slots=True)
class StackSchedule:
    """A schedule that ZenML knows of."""

    name: str
    cron: str
    active: bool


def can_schedule() -> bool:
    """Whether the active stack's orchestrator takes schedules. Raises ExternalServiceError where ZenML fails."""
    with _zenml_errors():
        return bool(Client().active_stack.orchestrator.config.is_schedulable)


def schedule_training(recipe: Recipe, data: Path, cron: str, name: str, stack: str | None = None) -> None:
    """Let the stack run the training pipeline at set times; on Kubernetes as a CronJob that never overlaps itself.

    stack: a stack file's name or path, which says what pods ask for; else the active stack as it is. Parameters
    are fixed when the schedule is made, the data's fingerprint among them. So nothing is taken from the cache: else
    later images would never be seen. Raises UsageProblem where the name is taken, ExternalServiceError where ZenML or
    the orchestrator refuses.
    """
    from pipelines.runner import stack_options
    from pipelines.training import training_pipeline

    if name in {one.name for one in stack_schedules()}:
        raise UsageProblem(
            f"There is a schedule called {name} already.",
            why="Two of them would train the same model twice.",
            cure=f"Remove it first: `lungline schedule remove {name}`.",
        )
    arguments = (recipe.model_dump(mode="json"), str(data), fingerprint(recipe.sources, data))
    with _zenml_errors():
        options: dict[str, Any] = stack_options(stack, training_pipeline, arguments) if stack else {}
        if not options and Client().active_stack.orchestrator.flavor == "kubernetes":
            options["settings"] = {"orchestrator": _CRON_JOB}
        schedule = Schedule(name=name, cron_expression=cron)
        training_pipeline.with_options(schedule=schedule, enable_cache=False, **options)(*arguments)


def stack_schedules() -> list[StackSchedule]:
    """Every schedule of the project, by name. Raises ExternalServiceError where ZenML fails."""
    with _zenml_errors():
        page = Client().list_schedules(size=1000)
        found = [StackSchedule(one.name, one.cron_expression or "", bool(one.active)) for one in page]
    return sorted(found, key=lambda schedule: schedule.name)


def remove_schedule(name: str) -> None:
    """Take a schedule away, with its CronJob. Raises UsageProblem where there is none of that name."""
    names = [one.name for one in stack_schedules()]
    if name not in names:
        raise UsageProblem(
            f"The active stack has no schedule called {name!r}.",
            why="There is nothing to remove.",
            cure="It has " + ", ".join(names) + "." if names else "It has none.",
        )
    with _zenml_errors():
        Client().delete_schedule(name)


@contextmanager
def _zenml_errors() -> Iterator[None]:
    try:
        yield
    except LunglineError:
        raise
    # ZenML raises what its transport and its orchestrators raise: their clients' errors and KeyError among them.
    except Exception as error:
        raise ExternalServiceError(
            f"ZenML could not do that on the active stack: {type(error).__name__}: {error}",
            why="Nobody knows whether the schedule is there now.",
            cure="`zenml stack describe` shows the stack, `lungline schedule list` what it keeps; then try again.",
        ) from error
