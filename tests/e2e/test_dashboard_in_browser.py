"""`lungline dashboard` in a real browser: quiet windows, a scanner change and a fault are drawn on its panels."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from PIL import Image

from data_contracts.drift.evidently_report import layer_reports
from data_contracts.drift.evidently_workspace import project_id, publish
from data_contracts.drift.history import VerdictHistory
from tests import monitored_windows as made

MODEL = "lungline-merged"
START_SECONDS = 240  # Evidently's import alone takes half a minute on a busy machine
STORY = {7: "acquisition", 8: "acquisition", 9: "acquisition", 14: "contract"}
FIRST_COLOUR, SECOND_COLOUR = (2, 178, 175), (46, 150, 255)  # the first colours of the chart library

pytestmark = pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Page -> address of a dashboard that is running on twenty judged windows; stopped as an operator would."""
    home = tmp_path_factory.mktemp("home")
    history = VerdictHistory(home / "monitoring" / MODEL)
    for day in range(20):
        made.issued(history, made.verdict(day, over=STORY.get(day, ""), labels=day % 5 == 0))
    reference, window = made.profile(home / "profile"), made.scored_images(300, seed=1)
    layer_reports(reference, window, None, made.verdict(19), history.folder / made.verdict(19).window.id / "1")
    publish(home / "evidently", history)
    said = home / "said.txt"
    with said.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", "dashboard"],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "LUNGLINE_HOME": str(home), "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while "Stop with Ctrl-C" not in said.read_text(encoding="utf-8"):
            assert process.poll() is None, said.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, "the pages did not come up"
            time.sleep(0.5)
        yield dict(
            re.findall(r"^(\w+) +(http://127\.0\.0\.1:\d+)$", said.read_text(encoding="utf-8"), re.MULTILINE)
        )
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0


def chromium(folder: Path, address: str, *options: str) -> str:
    """Run headless Chromium on a page of this machine, all other hosts out of reach, and return what it prints."""
    command = [
        *("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--force-prefers-reduced-motion"),
        *("--virtual-time-budget=20000", f"--user-data-dir={folder / 'profile'}", *options, address),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=90).stdout


def test_the_panels_draw_the_story(addresses: dict[str, str], tmp_path: Path) -> None:
    board = f"{addresses['Evidently']}/projects/{project_id(MODEL)}"
    page = chromium(tmp_path, board, "--dump-dom")
    counters = re.findall(r"<h2[^>]*>([^<]*)</h2><pre[^>]*>([^<]*)</pre>", page)
    assert {name: number for number, name in counters} == {
        "windows judged": "20",
        "over a limit": "4",
        "expected by chance alone": "0.2",
        "alarms": "4",
        "too few images": "0",
    }
    # Five layers and their limit, and two classes estimated, in 20 windows; two classes measured in 4 of them.
    assert len(re.findall(r"MuiLineElement-root", page)) == 6 + 2 + 2
    assert len(re.findall(r"MuiMarkElement-root", page)) == 6 * 20 + 2 * 20 + 2 * 4
    # Drifted columns, images, three classes, refusals by two reasons and in all.
    assert len(re.findall(r"MuiBarElement-root", page)) == (1 + 1 + 3 + 3) * 20


def test_lines_and_bars_are_seen_and_not_only_there(addresses: dict[str, str], tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    board = f"{addresses['Evidently']}/projects/{project_id(MODEL)}"
    chromium(tmp_path, board, f"--screenshot={shot}", "--window-size=1280,3700")
    with Image.open(shot) as image:
        panels = image.convert("RGB").getcolors(maxcolors=image.width * image.height) or []
        lines = image.convert("RGB").crop((60, 660, 1100, 1000)).getcolors(maxcolors=10**6) or []
    assert sum(n for n, colour in panels if near(colour, FIRST_COLOUR)) > 50_000, "bars"
    for colour in (FIRST_COLOUR, SECOND_COLOUR):
        assert sum(n for n, found in lines if near(found, colour)) > 500, "lines of the layers and of the limit"


def near(one: tuple[int, ...], other: tuple[int, int, int]) -> bool:
    return all(abs(a - b) <= 12 for a, b in zip(one, other, strict=True))


def test_a_layer_report_opens_from_the_dashboard(addresses: dict[str, str], tmp_path: Path) -> None:
    snapshots = requests.get(
        f"{addresses['Evidently']}/api/projects/{project_id(MODEL)}/snapshots", timeout=20
    ).json()
    report = next(snapshot["id"] for snapshot in snapshots if "layer descriptors" in snapshot["tags"])
    page = chromium(
        tmp_path, f"{addresses['Evidently']}/projects/{project_id(MODEL)}/reports/{report}", "--dump-dom"
    )
    assert "Kolmogorov-Smirnov 0.05, limit 0.12: not drifted" in page


def test_every_page_answers(addresses: dict[str, str]) -> None:
    assert set(addresses) >= {"Evidently", "MLflow"}
    for address in addresses.values():
        assert requests.get(address, timeout=20).ok
