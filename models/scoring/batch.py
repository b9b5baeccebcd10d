"""Scores many files with one version: in batches, logged as it goes, so that a kill costs one batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
from pydantic import BaseModel, ConfigDict

from data_contracts.workspace import Workspace
from models.scoring.facts import facts_of
from models.scoring.files import find_files, read_facts, require_paths
from models.scoring.log_rows import scored
from models.scoring.prediction_log import PredictionLog
from models.scoring.scorer import ReadImage, Scorer

Report = Callable[[int, int, str], None]

_TOGETHER = 128  # files decoded and answered at a time; twice as many decoded pictures are in memory


class ScoringRequest(BaseModel):
    """What to score. paths: files and folders. source: of all images whose facts give none. facts: a CSV table.

    taken_on: YYYY-MM-DD of the examinations where facts give none, "" for the day of scoring.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    paths: list[Path]
    source: str = ""
    facts: Path | None = None
    taken_on: str = ""


class ScoringSummary(BaseModel):
    """What became of the files: files = scored + known + refused. It names none of them.

    scored: answered and logged now. known: logged for this bundle before, or the same picture as an earlier file.
    refused: not answered, with the counts of each reason. predicted: how often each class (or combination) was
    answered now. abstained: answered so that a person has to read the picture. others: files below the folders that
    are no images. unmatched_facts: lines of the facts' table that name none of the files. log: its folder.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    version: str
    bundle: str
    files: int
    scored: int
    known: int
    refused: dict[str, int]
    predicted: dict[str, int]
    abstained: int
    others: int
    unmatched_facts: int
    log: str


class Counts:
    """Adds up what became of the files, batch by batch."""

    def __init__(self) -> None:
        self.files = self.known = self.abstained = 0
        self.refused: Counter[str] = Counter()
        self.predicted: Counter[str] = Counter()

    def add(self, files: int, rows: pd.DataFrame) -> None:
        """files: how many there were. rows: those of them that were not known before."""
        self.files += files
        self.known += files - len(rows)
        # What follows the colon is of one file alone: its size, say.
        self.refused.update(reason.partition(":")[0] for reason in rows["refused"] if reason)
        answered = scored(rows)
        self.predicted.update(answered["predicted"].replace("", "open"))
        self.abstained += int((answered["abstain"] != "").sum())


def check_request(request: ScoringRequest) -> None:
    """Raise UsageProblem for what could not be meant, before anything is recorded of the run."""
    require_paths(request.paths)
    facts_of(pd.DataFrame({"source": [request.source], "taken_on": [request.taken_on]}), [{}])
    if request.facts is not None:
        read_facts(request.facts, [], request.paths)


def score_request(
    workspace: Workspace,
    model_name: str,
    request: ScoringRequest,
    report: Report,
    now: Callable[[], datetime] | None = None,
) -> ScoringSummary:
    """Score what a request names with the decided champion, into the model's prediction log.

    report: called with files done, files in all and a note. now: the clock. Raises what `Scorer.open`, `find_files`,
    `read_facts` and `PredictionLog.append` raise; what was logged before stays, and the same call goes on from there.
    """
    scorer = Scorer.open(workspace, model_name)
    log = PredictionLog.of(workspace, model_name)
    files, others = find_files(request.paths)
    facts, unmatched = _facts(request, files)
    counts = score_files(scorer, log, files, facts, report, taken_on=request.taken_on, now=now)
    return ScoringSummary(
        model=model_name,
        version=scorer.version,
        bundle=scorer.bundle.content_hash,
        files=len(files),
        scored=counts.predicted.total(),
        known=counts.known,
        refused=dict(counts.refused.most_common()),
        predicted=dict(counts.predicted.most_common()),
        abstained=counts.abstained,
        others=others,
        unmatched_facts=unmatched,
        log=str(log.folder),
    )


def score_files(
    scorer: Scorer,
    log: PredictionLog,
    files: Sequence[Path],
    facts: pd.DataFrame | None,
    report: Report,
    *,
    taken_on: str = "",
    now: Callable[[], datetime] | None = None,
) -> Counts:
    """Score the files and log each batch; images that the log has for this bundle are read and not scored again."""
    clock = now or (lambda: datetime.now(UTC))
    counts = Counts()
    for start, images in _read_ahead(scorer, files):
        told = None if facts is None else facts.iloc[start : start + len(images)]
        new = _not_logged(scorer, log, images)
        rows = scorer.answer(
            [images[position] for position in new],
            None if told is None else told.iloc[new],
            origin="batch",
            now=clock(),
            taken_on=taken_on,
        )
        log.append(rows)
        counts.add(len(images), rows)
        report(counts.files, len(files), f"{counts.refused.total()} refused" if counts.refused else "")
    return counts


def _read_ahead(scorer: Scorer, files: Sequence[Path]) -> Iterator[tuple[int, list[ReadImage]]]:
    """(position, images) of each batch; the next one is decoded while the caller scores this one."""
    starts = range(0, len(files), _TOGETHER)
    with ThreadPoolExecutor(1) as pool:
        ahead = None
        for start in starts:
            waiting = ahead or pool.submit(scorer.read, files[start : start + _TOGETHER])
            following = start + _TOGETHER
            ahead = (
                pool.submit(scorer.read, files[following : following + _TOGETHER])
                if following < len(files)
                else None
            )
            yield start, waiting.result()


def _not_logged(scorer: Scorer, log: PredictionLog, images: Sequence[ReadImage]) -> list[int]:
    """Positions of the images to answer: not in the log, and each picture once. What has no key is refused again."""
    seen = log.known(scorer.bundle.content_hash, [image.key for image in images])
    new = []
    for position, image in enumerate(images):
        if image.key not in seen:
            new.append(position)
            seen |= {image.key} - {""}
    return new


def _facts(request: ScoringRequest, files: Sequence[Path]) -> tuple[pd.DataFrame | None, int]:
    if request.facts is None:
        return (pd.DataFrame({"source": [request.source] * len(files)}) if request.source else None), 0
    facts, unmatched = read_facts(request.facts, files, request.paths)
    facts["source"] = facts["source"].where(facts["source"] != "", request.source)
    return facts, unmatched
