"""Cuts the prediction log of one version into the windows that are judged, by days or by number of images.

Windows of days are told by the day an image was taken, so images that arrive late join their own window, which is
then judged anew. Windows of images follow each other in the order of scoring, where nothing arrives late.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, Literal

import pandas as pd

from data_contracts.errors import UsageProblem

Kind = Literal["days", "count"]

DEFAULT_LENGTH = "500"
# Of windows that nobody judged when they closed, so many of the latest are caught up with.
CAUGHT_UP = 14


@dataclass(frozen=True, slots=True)
class WindowLength:
    """How long a window is: `size` days, or `size` images."""

    kind: Kind
    size: int

    @classmethod
    def parse(cls, text: str) -> WindowLength:
        """500 is five hundred images, 7d seven days. Raises UsageProblem for anything else."""
        found = re.fullmatch(r"([1-9][0-9]{0,6})(d?)", text.strip())
        if found is None:
            raise UsageProblem(
                f"--window {text!r} is no length of a window.",
                why="A window is so many images or so many days of the prediction log.",
                cure="For example --window 500 for images, or --window 7d for days.",
            )
        return cls("days" if found[2] else "count", int(found[1]))

    @property
    def name(self) -> str:
        """As `parse` reads it."""
        return f"{self.size}{'d' if self.kind == 'days' else ''}"

    def fits(self, place: Place) -> bool:
        """Whether a window is one of those that follow each other in this length."""
        return place.regular and place.kind == self.kind and place.length == self.size


@dataclass(frozen=True, slots=True)
class Place:
    """Where a window lies in the log of a version.

    id: also the name of its folder. since, until: the days it covers, until excluded; of a window of days those on
    which images were taken, of a window of images those on which they were scored. first, last: of a window of images
    the order keys of its first and last row; else "".
    """

    id: str
    kind: Kind
    since: date
    until: date
    first: str = ""
    last: str = ""

    @classmethod
    def of_json(cls, content: dict[str, Any]) -> Place:
        """What `to_json` gave."""
        days = {name: date.fromisoformat(content[name]) for name in ("since", "until")}
        return cls(**{**content, **days})

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "since": self.since.isoformat(), "until": self.until.isoformat()}

    def follows(self, other: Place) -> bool:
        """Whether the other one is an earlier window of the same series."""
        alike = self.regular and other.regular and self.kind == other.kind and self.length == other.length
        return alike and (other.until, other.last, other.since) < (self.until, self.last, self.since)

    @property
    def regular(self) -> bool:
        """Whether it is one of those that follow each other without overlap, not some days that a person chose."""
        return self.kind == "count" or self.since == _begin_of(self.since, self.length)

    @property
    def length(self) -> int:
        """In days or in images."""
        if self.kind == "days":
            return (self.until - self.since).days
        return int(self.id.split("-")[1])


@dataclass(frozen=True, slots=True)
class CutWindow:
    """A window and its rows, sorted as in the log. The rows may be none: silence is a finding too."""

    place: Place
    rows: pd.DataFrame

    @property
    def content(self) -> str:
        """sha256 of which images are in it, so that a late one is noticed."""
        return hashlib.sha256("\n".join(sorted(self.rows["image_key"])).encode()).hexdigest()


def between(frame: pd.DataFrame, version: str, since: date, until: date) -> CutWindow:
    """The window of the days [since, until). Raises UsageProblem where it ends before it begins."""
    if until <= since:
        raise UsageProblem(
            f"A window from {since} to {until} holds no day.",
            why="The day of --until is the first one after the window.",
            cure=f"For one day: --since {since} --until {since + timedelta(days=1)}.",
        )
    days = frame["taken_on"]
    rows = frame[(days >= since.isoformat()) & (days < until.isoformat())]
    place = Place(f"v{version}-{since}-to-{until}", "days", since, until)
    return CutWindow(place, rows.reset_index(drop=True))


def at(frame: pd.DataFrame, version: str, place: Place) -> CutWindow:
    """The window at a place that was cut before, with the rows that are there now."""
    if place.kind == "days":
        return between(frame, version, place.since, place.until)
    order = order_keys(frame)
    return CutWindow(place, frame[(order >= place.first) & (order <= place.last)].reset_index(drop=True))


def closed_windows(
    frame: pd.DataFrame, version: str, length: WindowLength, *, today: date, judged: Sequence[Place]
) -> list[CutWindow]:
    """The windows that are complete and lie after those judged, earliest first; the latest CAUGHT_UP of them.

    frame: the log of one version. today: UTC; a window of days is complete when its last day is over. judged: places
    of this version; only those of windows of this length matter.
    """
    windows = _by_days if length.kind == "days" else _by_count
    return list(windows(frame, version, length, today, judged))[-CAUGHT_UP:]


def order_keys(frame: pd.DataFrame) -> pd.Series:
    """What rows are ordered by where the order of scoring counts: time, then image."""
    keys: pd.Series = frame["scored_at"] + " " + frame["image_key"]
    return keys


def _begin_of(day: date, size: int) -> date:
    """First day of the window a day lies in: counted from a Monday in the year 1, whatever the log holds."""
    return date.fromordinal((day.toordinal() - 1) // size * size + 1)


def _by_days(
    frame: pd.DataFrame, version: str, length: WindowLength, today: date, judged: Sequence[Place]
) -> Iterator[CutWindow]:
    """The latest windows that are over and were not judged; none before the log, or the first judged one, begins."""
    known = {place.since for place in judged if length.fits(place)}
    begins = [min(known)] if known else []
    if not frame.empty:
        begins.append(date.fromisoformat(frame["taken_on"].min()))
    if not begins:
        return
    days = timedelta(days=length.size)
    start = max(_begin_of(max(begins), length.size), _begin_of(today, length.size) - CAUGHT_UP * days)
    while start + days <= today:
        if start not in known:
            yield between(frame, version, start, start + days)
        start += days


def _by_count(
    frame: pd.DataFrame, version: str, length: WindowLength, today: date, judged: Sequence[Place]
) -> Iterator[CutWindow]:
    order = order_keys(frame)
    after = max((place.last for place in judged if length.fits(place)), default="")
    ordered = frame.assign(order=order)[order > after].sort_values("order", kind="stable")
    for start in range(0, len(ordered) - length.size + 1, length.size):
        rows = ordered.iloc[start : start + length.size]
        first, last = str(rows["order"].iloc[0]), str(rows["order"].iloc[-1])
        since = date.fromisoformat(first[:10])
        until = date.fromisoformat(last[:10]) + timedelta(days=1)
        stamp = re.sub(r"\W", "", first.partition(" ")[0])
        place = Place(
            f"v{version}-{length.size}-from-{stamp}-{first.partition(' ')[2][:8]}",
            "count",
            since,
            until,
            first,
            last,
        )
        yield CutWindow(place, rows.drop(columns="order").reset_index(drop=True))
