"""Conducts the judgement of one window: contract, verdict, page, detailed reports, and the place they are kept at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from data_contracts.drift.history import Issued, VerdictHistory
from data_contracts.drift.judge import Scorer, judge_window
from data_contracts.drift.performance import OutcomePerformance
from data_contracts.drift.performance_estimate import estimate_performance
from data_contracts.drift.performance_outcome import measure_performance
from data_contracts.drift.verdict import DriftVerdict, LayerVerdict, Window
from data_contracts.expectations.report import ValidationReport
from data_contracts.workspace import Workspace
from models.monitoring.due import history_of
from models.monitoring.labels import LABELS
from models.monitoring.page import window_page
from models.monitoring.scored_window import ScoredWindow
from models.monitoring.watched import NO_REFERENCE, WatchedVersion
from models.scoring.log_rows import embeddings_of, scored

PAGE = "index.html"
_ON_THE_PAGE = 30  # windows before this one


@dataclass(frozen=True, slots=True)
class Conducted:
    """What came of a window. page: its HTML, "" where the verdict had been given before. contract: None where no
    image was scored.
    """

    issued: Issued
    page: str
    contract: ValidationReport | None


def check_contract(watched: WatchedVersion, window: ScoredWindow) -> ValidationReport | None:
    """Hold the scored rows against the data contract of a window; None where there are none."""
    from data_contracts.expectations.runner import validate_window

    rows = scored(window.rows)
    if rows.empty:
        return None
    return validate_window(
        rows.drop(columns="embedding"), classes=watched.class_names, multi_label=watched.multi_label
    )


def conduct(
    workspace: Workspace,
    watched: WatchedVersion,
    window: ScoredWindow,
    contract: ValidationReport | None,
    *,
    alarms: Sequence[str] = (),
    detailed: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> Conducted:
    """Judge a window and keep verdict, page and reports; a verdict that was given on just this is not given again.

    alarms: what the registry's watchdog found, for the page. detailed: with Evidently's reports of every layer and
    its dashboard. say: for the one sentence of a process that waits for another. Raises EnvironmentProblem where the
    disk refuses.
    """
    history = history_of(workspace, watched.model_name)
    with history.alone(say):
        known = history.latest(watched.number)
        same = [one for one in known if one.place.id == window.place.id and _rests_on(one, window)]
        if same:
            return Conducted(same[0], "", contract)
        earlier = [one.verdict for one in known if window.place.follows(one.place)]
        verdict = judge(
            workspace, watched, window, contract, issue=history.next_issue(window.place.id), earlier=earlier
        )
        return _keep(workspace, watched, window, verdict, history, earlier, contract, alarms, detailed)


def judge(
    workspace: Workspace,
    watched: WatchedVersion,
    window: ScoredWindow,
    contract: ValidationReport | None,
    *,
    issue: int,
    earlier: Sequence[DriftVerdict],
) -> DriftVerdict:
    """The verdict on a window, with performance estimated and, where there are labels, measured."""
    place = window.place
    told = Window(
        id=place.id,
        since=place.since.isoformat(),
        until=place.until.isoformat(),
        n=len(window.rows),
        issue=issue,
        kind=place.kind,
    )
    if watched.profile is None:
        return _without_reference(watched, told)
    return judge_window(
        watched.profile,
        window.rows,
        embeddings_of(scored(window.rows)),
        scorer=Scorer(watched.model_name, watched.number, watched.bundle),
        window=told,
        settings=watched.settings,
        earlier=earlier,
        failed_checks=[check.name for check in contract.failed("critical")] if contract else [],
        performance=estimate_performance(
            watched.profile.frame,
            window.rows,
            watched.class_names,
            operating_points=watched.thresholds,
            multi_label=watched.multi_label,
            seed=watched.settings.seed,
        ),
        outcome_performance=_measured(watched, window),
        cache=workspace.cache / "drift",
    )


def _measured(watched: WatchedVersion, window: ScoredWindow) -> OutcomePerformance | None:
    if not window.looked_at.labels:
        return None
    return measure_performance(
        window.rows,
        window.labels,
        watched.class_names,
        operating_points=watched.thresholds,
        multi_label=watched.multi_label,
    )


def _rests_on(one: Issued, window: ScoredWindow) -> bool:
    seen, now = one.looked_at, window.looked_at
    return (seen.content, seen.labels) == (now.content, now.labels)


def _without_reference(watched: WatchedVersion, told: Window) -> DriftVerdict:
    settings = watched.settings
    why = f"Version {watched.number} was {NO_REFERENCE}."
    return DriftVerdict(
        model=watched.model_name,
        version=watched.number,
        bundle=watched.bundle,
        profile="",
        window=told,
        layers=tuple(LayerVerdict(layer=layer, outcome="insufficient", why=why) for layer in settings.layers),
        outcome="insufficient",
        verdict="insufficient",
        severity="log",
        reasons=(why,),
        confirmations=settings.confirmations,
        windows=settings.windows,
        false_alarm_rate=settings.false_alarm_rate,
        windows_between_false_alarms=0.0,
    )


def _keep(
    workspace: Workspace,
    watched: WatchedVersion,
    window: ScoredWindow,
    verdict: DriftVerdict,
    history: VerdictHistory,
    earlier: Sequence[DriftVerdict],
    contract: ValidationReport | None,
    alarms: Sequence[str],
    detailed: bool,
) -> Conducted:
    with history.giving(verdict, window.looked_at) as folder:
        reports: dict[str, str] = {}
        if detailed and watched.profile is not None:
            from data_contracts.drift.evidently_report import layer_reports

            embeddings = embeddings_of(scored(window.rows))
            for report in layer_reports(watched.profile, window.rows, embeddings, verdict, folder):
                reports[report.layer] = report.page.relative_to(folder).as_posix()
        page = window_page(
            watched,
            window,
            verdict,
            earlier=earlier[-_ON_THE_PAGE:],
            contract=contract,
            reports=reports,
            alarms=alarms,
            stores=workspace.stores,
        )
        (folder / PAGE).write_text(page, encoding="utf-8")
        if window.looked_at.labels:
            of_rows = window.labels["image_id"].isin(window.rows["image_id"])
            window.labels[of_rows].to_csv(folder / LABELS, index=False)
    kept = history.folder / verdict.window.id / str(verdict.window.issue)
    return Conducted(Issued(verdict, window.looked_at, kept), page, contract)
