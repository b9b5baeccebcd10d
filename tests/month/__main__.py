"""Simulates a month of a model in use and writes what the monitor said each day.

Run it with `python -m tests.month`; with `--data DIR` the days are made of real images in their raw layouts. It trains
one small network, so its performance says nothing; what is looked at is when the monitor speaks up.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from data_contracts.drift.evidently_workspace import publish
from models.monitoring.due import history_of
from tests.month.hospital import Hospital, open_hospital, small_recipe
from tests.month.story import Judged, live_through, month


def main() -> None:
    arguments = _arguments()
    hospital = open_hospital(
        arguments.home, small_recipe(), arguments.data, images=arguments.images, size=arguments.size
    )
    judged: list[Judged] = []
    for one in live_through(hospital, month(), n=arguments.per_day, detailed=arguments.detailed):
        judged.append(one)
        print(" | ".join(row(one)), flush=True)
    publish(hospital.workspace.evidently, history_of(hospital.workspace, hospital.model_name))
    page = as_page(judged, hospital, arguments)
    if arguments.out:
        arguments.out.write_text(page, encoding="utf-8")
    print(f"\n{page}\nworkspace  {arguments.home}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.month", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with radiography, mendeley and nih; else phantoms")
    parser.add_argument("--images", type=int, default=2400, help="phantoms to draw")
    parser.add_argument("--size", type=int, default=64, help="side of a phantom, pixels")
    parser.add_argument("--per-day", type=int, default=280, help="images of a day")
    parser.add_argument("--detailed", action="store_true", help="with Evidently's reports of every day")
    parser.add_argument("--home", type=Path, help="workspace to fill; else a temporary folder")
    parser.add_argument("--out", type=Path, help="Markdown file to write the table to")
    arguments = parser.parse_args()
    arguments.home = arguments.home or Path(tempfile.mkdtemp(prefix="lungline-month-"))
    return arguments


def row(one: Judged) -> tuple[str, ...]:
    """Day, phase, verdict, layers over their limit, refused images, retraining."""
    exceeded = ", ".join(layer.layer for layer in one.verdict.layers if layer.outcome == "exceeded")
    refused = sum(one.verdict.refused.values())
    return (
        one.day.day.isoformat(),
        one.day.phase,
        one.verdict.verdict,
        exceeded or "–",
        f"{refused} of {one.verdict.window.n}",
        one.retraining.state,
    )


def as_page(judged: Sequence[Judged], hospital: Hospital, arguments: argparse.Namespace) -> str:
    """The table as Markdown, under a sentence that says what it was made of."""
    made_of = "real images" if arguments.data else f"{arguments.images:,} phantoms of {arguments.size} pixels"
    requests = max((one.retraining.episode for one in judged), default=0)
    lines = [
        "# A simulated month",
        "",
        f"Days of {arguments.per_day} images made of {len(hospital.later):,} held-back images ({made_of}). Retraining "
        f"was requested {'once' if requests == 1 else f'{requests} times'}. Made by `python -m tests.month`.",
        "",
        "| day | what happened | verdict | over the limit | refused | retraining |",
        "|---|---|---|---|---:|---|",
        *(f"| {' | '.join(row(one))} |" for one in judged),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
