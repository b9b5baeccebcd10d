"""The page of one window: the verdict in a sentence, what each layer showed, and the images that moved it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from markupsafe import Markup

from data_contracts.drift.layers import TITLES
from data_contracts.drift.verdict import DriftVerdict, LayerVerdict
from data_contracts.expectations.report import ValidationReport
from models.reports import page
from models.reports.formatting import capitalised, counted, listed
from models.reports.svg import Scale, drawing, element, line

VERDICT_MARK = {"quiet": "good", "watch": "caution", "alarm": "bad", "insufficient": "none"}
OUTCOME_MARK = {"quiet": "good", "exceeded": "bad", "insufficient": "none", "not evaluated": "none"}


@dataclass(frozen=True, slots=True)
class MovedPicture:
    """One image that moved the verdict. picture: base64 PNG, "" where no store of this workspace holds it.

    described: what is known of it, in words.
    """

    image_id: str
    share: float
    why: str
    described: str
    picture: str = ""


@dataclass(frozen=True, slots=True)
class MixRow:
    """How often one class is answered. window, reference: shares of the images, None without any."""

    title: str
    count: int
    window: float | None
    reference: float | None


@dataclass(frozen=True, slots=True)
class WindowPage:
    """Everything the page shows. earlier: verdicts on the windows before, oldest first. contract: None where the data
    contract was not asked. reports: title -> file of a detailed report beside the page. alarms: what the registry's
    watchdog found. left_out: in words, what the log held and the window does not.
    """

    verdict: DriftVerdict
    class_titles: Mapping[str, str]
    earlier: Sequence[DriftVerdict] = ()
    contract: ValidationReport | None = None
    movers: Sequence[MovedPicture] = ()
    mix: Sequence[MixRow] = ()
    reports: Mapping[str, str] = field(default_factory=dict)
    alarms: Sequence[str] = ()
    left_out: Sequence[str] = ()


def render_window_page(content: WindowPage) -> str:
    """The page as one self-contained HTML document; equal content gives equal bytes."""
    verdict = content.verdict
    recent = [*content.earlier, verdict]
    return page.render(
        "monitoring.html.j2",
        page=content,
        verdict=verdict,
        lead=verdict_sentence(verdict),
        days=_days(verdict),
        titles={layer.layer: capitalised(TITLES[layer.layer]) for layer in verdict.layers},
        bars={layer.layer: _bar(layer) for layer in verdict.layers},
        recent=recent,
        strip=_strip(recent),
        failed=[check for check in content.contract.checks if not check.passed] if content.contract else [],
        verdict_mark=VERDICT_MARK,
        outcome_mark=OUTCOME_MARK,
    )


def verdict_sentence(verdict: DriftVerdict) -> str:
    """The verdict in one sentence, for pages and the terminal."""
    exceeded = [TITLES[layer.layer] for layer in verdict.layers if layer.outcome == "exceeded"]
    images = counted(verdict.window.n, "image")
    if verdict.verdict == "insufficient":
        return f"Insufficient: {images}, from which nothing can be concluded."
    if verdict.verdict == "quiet":
        return f"Quiet: {images} that differ from the reference by no more than chance."
    beyond = f"{listed(exceeded)} differ{'s' if len(exceeded) == 1 else ''} from the reference by more than chance"
    if verdict.verdict == "watch":
        return f"Watch: {beyond}. It becomes an alarm when {verdict.confirmations} of {verdict.windows} windows say so."
    said = f": {beyond}" if exceeded else ""
    return f"Alarm in {verdict.confirmations} of the last {verdict.windows} windows{said}."


def _days(verdict: DriftVerdict) -> str:
    """The days of the window as people say them: both ends included."""
    first = date.fromisoformat(verdict.window.since)
    last = date.fromisoformat(verdict.window.until) - timedelta(days=1)
    return f"{first}" if first >= last else f"{first} to {last}"


def _bar(layer: LayerVerdict) -> Markup:
    """The statistic on a scale where the limit is a line at the middle; past it, the bar is full."""
    if layer.value is None or not layer.limit:
        return Markup("")
    width, height = 160.0, 22.0
    x = Scale(0, 2, 2, width - 2)
    share = min(max(layer.value / layer.limit, 0.0), 2.0)
    shade = "bar exceeded" if layer.outcome == "exceeded" else "bar"
    parts = [
        element("rect", x=x(0), y=7, width=max(1.0, x(share) - x(0)), height=8, class_=shade),
        line(x(1), 2, x(1), height - 2, "limit"),
    ]
    return drawing(width, height, f"{layer.value / layer.limit:.2f} times the limit", parts, "plot row")


def _strip(recent: Sequence[DriftVerdict]) -> Markup:
    """A square per window, oldest first."""
    side, gap = 16.0, 4.0
    parts = [
        element(
            "rect",
            element("title", f"{one.window.since}: {one.verdict}"),
            x=place * (side + gap),
            y=2,
            width=side,
            height=side,
            class_=f"verdict-{one.verdict}",
        )
        for place, one in enumerate(recent)
    ]
    said = ", ".join(one.verdict for one in recent)
    width = len(recent) * (side + gap)
    return element(
        "svg",
        *parts,
        viewBox=f"0 0 {width:g} 20",
        class_="strip",
        role="img",
        aria_label=said,
        width=width,
        height=20,
    )
