"""Measures false alarms and power of the drift monitor on real and phantom images and writes docs/monitor.md.

Run it with `python -m tests.monitor --data DIR`. Every image is put through every shift once; windows are samples of
its rows, so that hundreds of windows cost minutes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from statsmodels.stats.proportion import proportion_confint

from data_contracts.drift.layers import LAYERS
from data_contracts.drift.persistence import windows_between_false_alarms
from data_contracts.drift.settings import MonitorSettings
from tests.monitor.images import HeldOut, phantom_images, real_images
from tests.monitor.shifts import HARMLESS
from tests.monitor.trial import Tally, new_source, with_shifts, without_shift

NO_SHIFT = "none"


def main() -> None:
    arguments = _arguments()
    settings = MonitorSettings()
    pages = []
    for held_out in _images(arguments):
        tallies = {
            NO_SHIFT: without_shift(held_out, arguments.windows, arguments.size, settings, arguments.evidently)
        }
        print(f"{held_out.name}: {tallies[NO_SHIFT]}", flush=True)
        shifted = with_shifts(held_out, arguments.shifted, arguments.size, settings, arguments.evidently_shifted)
        tallies |= shifted
        for source in sorted(set(held_out.frame["source"])):
            for share in (0.2, 1.0):
                if (held_out.frame["source"] == source).sum() >= share * arguments.size:
                    tallies[f"unnamed images of {source}, {share:.0%} of the window"] = new_source(
                        held_out,
                        source,
                        share,
                        arguments.shifted // 2,
                        arguments.size,
                        settings,
                        arguments.evidently_shifted,
                    )
        pages.append((held_out, tallies))
        arguments.out.write_text(_page(pages, arguments, settings), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.monitor", description=__doc__)
    real = os.environ.get("LUNGLINE_REAL_DATA")
    parser.add_argument("--data", type=Path, default=Path(real) / "raw" if real else None)
    parser.add_argument("--side", type=int, default=112, help="side of the stored images, pixels")
    parser.add_argument("--size", type=int, default=200, help="images in a window")
    parser.add_argument("--windows", type=int, default=500, help="without a shift")
    parser.add_argument("--shifted", type=int, default=50, help="windows under each shift")
    parser.add_argument(
        "--evidently", type=int, default=100, help="windows without a shift that Evidently is shown"
    )
    parser.add_argument("--evidently-shifted", type=int, default=5, help="windows of each shift that it is shown")
    parser.add_argument("--phantom", type=int, default=1_200, help="phantom images")
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "lungline-monitor")
    parser.add_argument("--out", type=Path, default=Path("docs/monitor.md"))
    return parser.parse_args()


def _images(arguments: argparse.Namespace) -> Iterator[HeldOut]:
    arguments.home.mkdir(parents=True, exist_ok=True)
    if arguments.data:
        yield real_images(arguments.data, arguments.home, arguments.side)
    yield phantom_images(arguments.home, arguments.side, arguments.phantom)


def _page(
    pages: list[tuple[HeldOut, dict[str, Tally]]], arguments: argparse.Namespace, settings: MonitorSettings
) -> str:
    rate = settings.false_alarm_rate
    run = windows_between_false_alarms(rate, settings.confirmations, settings.windows)
    lines = [
        "# How often the monitor cries wolf, and what it sees",
        "",
        f"Windows of {arguments.size} images. A window exceeds a limit in at most {rate:.0%} of windows without drift;",
        f"an alarm needs {settings.confirmations} of the last {settings.windows} windows, so that without drift "
        f"{run:,.0f} windows pass on average",
        "before a false one, if windows exceed independently of each other. Made by",
        f"`python -m tests.monitor --data DIR --side {arguments.side} --size {arguments.size} --windows "
        f"{arguments.windows} --shifted {arguments.shifted}",
        f"--evidently {arguments.evidently} --evidently-shifted {arguments.evidently_shifted}`.",
        "",
        "How it was measured: images that the network was not trained on are dealt by patient and picture into two",
        "halves, again for every few windows. One half is the reference, on which alone the limits are calibrated;",
        "windows are drawn from the other by whole groups. The deals share images, so windows of different deals",
        "are not independent and the intervals (Wilson, 95 %) are a little narrow. Images are "
        f"{arguments.side} pixels wide, shifts",
        "act on the stored pictures, and the network is a simple_cnn of four epochs. Width, height, mode and format",
        "stay as they were under a shift. Images with an input flag are refused, as in scoring: inverted and turned",
        "ones mostly show in the contract.",
        "",
        '"Evidently": its drift preset with the defaults, on the same windows and columns of acquisition, descriptors',
        "and outputs; share of windows with any drifted column / with half of them drifted, its default for the whole.",
        "",
    ]
    for held_out, tallies in pages:
        lines += [f"## {held_out.name.capitalize()} images", "", *_statement(held_out, tallies, rate), ""]
        lines += [
            "| shift | windows | exceeded | 95 % interval | "
            + " | ".join(LAYERS)
            + " | windows to an alarm | Evidently any / half (n) |",
            "|---|---:|---:|---|" + "---:|" * (len(LAYERS) + 1) + "---|",
        ]
        lines += [_line(name, tally, settings) for name, tally in tallies.items()]
        lines.append("")
    return "\n".join(lines)


def _statement(held_out: HeldOut, tallies: dict[str, Tally], rate: float) -> list[str]:
    null = tallies[NO_SHIFT]
    low, high = _wilson(null.exceeded, null.windows)
    found = null.exceeded / null.windows
    kept = "within" if found <= 2 * rate else "NOT within"
    lines = [
        f"{len(held_out.frame):,} held-out images of {held_out.groups.max() + 1:,} identity groups. Without a shift "
        f"{null.exceeded} of {null.windows} windows exceeded a limit:",
        f"{found:.1%} (95 % interval {low:.1%} to {high:.1%}), {kept} twice the nominal {rate:.0%}.",
    ]
    if null.asked:
        lines.append(
            f"Evidently's defaults flag a column in {null.any_column / null.asked:.0%} of the same windows "
            f"(n = {null.asked})."
        )
    noisy = [name for name in tallies if name.startswith(HARMLESS) and tallies[name].exceeded > 0]
    missed = [
        n for n, tally in tallies.items() if n != NO_SHIFT and not n.startswith(HARMLESS) and _rate(tally) < 0.5
    ]
    lines.append(
        "Harmless changes of brightness by 1 % "
        + ("stayed quiet." if not noisy else "did not stay quiet: " + _with_rates(noisy, tallies) + ".")
    )
    if missed:
        lines.append("Seen in fewer than half of the windows: " + _with_rates(missed, tallies) + ".")
    return lines


def _line(name: str, tally: Tally, settings: MonitorSettings) -> str:
    low, high = _wilson(tally.exceeded, tally.windows)
    layers = " | ".join(f"{tally.layers.get(layer, 0) / tally.windows:.1%}" for layer in LAYERS)
    wait = (
        f"{windows_between_false_alarms(_rate(tally), settings.confirmations, settings.windows):,.1f}"
        if tally.exceeded
        else "none seen"
    )
    evidently = (
        f"{tally.any_column / tally.asked:.0%} / {tally.half_of_columns / tally.asked:.0%} ({tally.asked})"
        if tally.asked
        else ""
    )
    cells = (name, tally.windows, f"{_rate(tally):.1%}", f"{low:.1%} – {high:.1%}", layers, wait, evidently)
    return f"| {' | '.join(map(str, cells))} |"


def _rate(tally: Tally) -> float:
    return tally.exceeded / tally.windows


def _with_rates(names: list[str], tallies: dict[str, Tally]) -> str:
    return ", ".join(f"{name} ({_rate(tallies[name]):.0%})" for name in names)


def _wilson(count: int, n: int) -> tuple[float, float]:
    low, high = proportion_confint(count, n, method="wilson")
    return float(low), float(high)


if __name__ == "__main__":
    main()
