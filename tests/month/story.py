"""What happens in the month, and what the monitor makes of it day by day."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from data_contracts.drift.verdict import DriftVerdict
from data_contracts.drift.windows import WindowLength
from data_contracts.sources.phantom import AcquisitionShift
from models.monitoring.conduct import check_contract, conduct
from models.monitoring.due import due_windows
from models.monitoring.watched import WatchedVersion, watched_version
from models.retraining.status import RetrainingStatus
from models.retraining.trigger import note_verdict
from models.scoring.prediction_log import PredictionLog
from models.scoring.scorer import Scorer
from tests.month.days import Day, images_of
from tests.month.hospital import Hospital

BEGIN = date(2026, 3, 2)  # a Monday
DAILY = WindowLength("days", 1)
# A newer detector: steeper, brighter, a little blurred by its noise reduction.
NEW_SCANNER = AcquisitionShift(gain=1.25, offset=12.0, gamma=0.85, blur=0.8)
QUIET, SCANNER, INVERSION, RECOVERY = "quiet", "new scanner", "new scanner, inverted images", "recovered"


@dataclass(frozen=True)
class Judged:
    """A day with its verdict, and where retraining stood after it."""

    day: Day
    verdict: DriftVerdict
    retraining: RetrainingStatus


def month(quiet: int = 14, scanner: int = 5, inverted: int = 2, settled: int = 3, recovery: int = 8) -> list[Day]:
    """Days in order: quiet, a new scanner, during which some images come inverted for a while, and recovery."""
    phases = [
        *[(QUIET, AcquisitionShift(), 0.0)] * quiet,
        *[(SCANNER, NEW_SCANNER, 0.0)] * scanner,
        *[(INVERSION, NEW_SCANNER, 0.2)] * inverted,
        *[(SCANNER, NEW_SCANNER, 0.0)] * settled,
        *[(RECOVERY, AcquisitionShift(), 0.0)] * recovery,
    ]
    return [
        Day(BEGIN + timedelta(days=number), phase, shift, share)
        for number, (phase, shift, share) in enumerate(phases)
    ]


def live_through(
    hospital: Hospital,
    days: Sequence[Day],
    *,
    n: int,
    detailed: bool,
    say: Callable[[str], None] = print,
) -> Iterator[Judged]:
    """Score each day's images and judge the day on the next morning."""
    scorer = Scorer.open(hospital.workspace, hospital.model_name)
    watched = watched_version(hospital.workspace, hospital.model_name)
    log = PredictionLog.of(hospital.workspace, hospital.model_name)
    for day in days:
        score_day(hospital, scorer, log, day, n)
        yield from judge_until(hospital, watched, day, detailed=detailed, say=say)


def score_day(hospital: Hospital, scorer: Scorer, log: PredictionLog, day: Day, n: int) -> None:
    """Score a day's images into the prediction log."""
    files, facts, now = images_of(hospital, day, n)
    log.append(scorer.score(files, facts, origin="batch", now=now))


def judge_until(
    hospital: Hospital,
    watched: WatchedVersion,
    day: Day,
    *,
    detailed: bool,
    say: Callable[[str], None] = print,
) -> Iterator[Judged]:
    """Judge every day that is over on the morning after this one, and note each verdict for retraining."""
    morning = day.day + timedelta(days=1)
    workspace = hospital.workspace
    for window in due_windows(workspace, watched, DAILY, today=morning).windows:
        contract = check_contract(watched, window)
        verdict = conduct(workspace, watched, window, contract, detailed=detailed, say=say).issued.verdict
        # By the clock of the machine, as the champion was approved by it.
        status = note_verdict(workspace, hospital.model_name, verdict, watched.retraining, datetime.now(UTC))
        yield Judged(day, verdict, status)
