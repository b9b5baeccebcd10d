"""The monitoring pipeline: the registry watched, windows of scored images judged one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zenml import pipeline
from zenml.enums import ExecutionMode

from data_contracts.drift.verdict import DriftVerdict
from data_contracts.drift.windows import Place
from data_contracts.workspace import Workspace
from pipelines.living_runs import living_run
from steps.monitor import check_contract, collect, follow_up, judge, watch_registry


@dataclass(frozen=True, slots=True)
class MonitoringResult:
    """What a monitoring run made. folders: of the verdicts, in their order. retraining: its state, "" unknown."""

    run: str
    verdicts: list[DriftVerdict]
    folders: list[Path]
    alarms: list[str]
    retraining: str


@pipeline(name="monitoring", enable_cache=False, execution_mode=ExecutionMode.FAIL_FAST)
def monitoring_pipeline(model_name: str, places: list[dict[str, Any]], labels: str) -> None:
    """One window after the other, since a verdict rests on those before it."""
    alarms = watch_registry()
    verdicts: list[Any] = []
    before = "watch_registry"
    for number, place in enumerate(places):
        window = collect(model_name, place, labels, id=f"collect_{number}", after=before)
        contract = check_contract(window, id=f"check_contract_{number}")
        verdict, _folder, _page = judge(window, contract, alarms, id=f"judge_{number}")
        verdicts.append(verdict)
        before = f"judge_{number}"
    follow_up(model_name, verdicts)


def run_monitoring(model_name: str, places: Sequence[Place], labels: Path | None) -> MonitoringResult:
    """Run on the active stack. Errors of the domain come through as they were raised."""
    name = f"monitoring-{model_name}-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    asked = [place.to_json() for place in places]
    with living_run(Workspace.current(), name):
        run = monitoring_pipeline.with_options(run_name=name)(
            model_name, asked, str(labels.resolve()) if labels else ""
        )
    judged = [run.steps[f"judge_{number}"].outputs for number in range(len(places))]
    return MonitoringResult(
        run=run.name,
        verdicts=[outputs["verdict"][0].load() for outputs in judged],
        folders=[Path(outputs["folder"][0].load()) for outputs in judged],
        alarms=run.steps["watch_registry"].outputs["registry_alarms"][0].load(),
        retraining=run.steps["follow_up"].outputs["retraining"][0].load(),
    )
