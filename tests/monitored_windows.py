"""Scored images, a reference profile and verdicts made by hand, for tests of reports and dashboard."""

from __future__ import annotations

import hashlib
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.drift.history import LookedAt, VerdictHistory
from data_contracts.drift.layers import LAYERS
from data_contracts.drift.performance import ClassFigures, Figure, OutcomePerformance, PerformanceEstimate
from data_contracts.drift.profile import ReferenceProfile
from data_contracts.drift.verdict import DriftVerdict, FeatureDrift, LayerVerdict, Window
from data_contracts.drift.windows import between
from data_contracts.expectations.window import DESCRIPTORS

CLASSES = ("covid19", "normal", "pneumothorax")
FIRST_DAY = date(2026, 1, 1)


def scored_images(n: int, seed: int, day: date = FIRST_DAY) -> pd.DataFrame:
    """Rows as in the prediction log."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (n, len(CLASSES)))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ids = [hashlib.sha256(f"{seed}-{row}".encode()).hexdigest() for row in range(n)]
    frame = pd.DataFrame({"image_id": ids, "image_key": ids, "taken_on": day.isoformat()})
    frame["scored_at"] = f"{day}T10:00:00.000Z"
    frame["source"] = rng.choice(["radiography", "nih"], n)
    frame["view"] = rng.choice(["PA", "AP"], n)
    frame["age"] = rng.integers(1, 90, n).astype(float)
    frame["sex"] = rng.choice(["F", "M"], n)
    frame["width"] = frame["height"] = rng.choice([256.0, 1024.0], n)
    frame["mode"], frame["format"] = "L", rng.choice(["PNG", "JPEG"], n)
    for name in (*DESCRIPTORS, "chest_likeness"):
        frame[name] = rng.normal(0.5, 0.1, n)
    for k, name in enumerate(CLASSES):
        frame[f"p_{name}"] = p[:, k]
    frame["label"] = np.asarray(CLASSES)[p.argmax(axis=1)]
    return frame.assign(patient="", flags="", refused="", unknown_classes="")


def embeddings(n: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1, (n, 16)).astype(np.float32)


def profile(folder: Path, n: int = 400) -> ReferenceProfile:
    return ReferenceProfile.write(folder, scored_images(n, seed=0), embeddings(n, seed=0), CLASSES)


def verdict(day: int, *, issue: int = 1, over: str = "", labels: bool = False) -> DriftVerdict:
    """Of the day-th window; over: the layer that exceeds its limit, with one drifted column."""
    first = FIRST_DAY + timedelta(days=day)
    window = Window(
        id=between(scored_images(0, 0), "3", first, first + timedelta(days=1)).place.id,
        since=str(first),
        until=str(first + timedelta(days=1)),
        n=300,
        issue=issue,
    )
    columns = {"acquisition": ("width", "view"), "descriptors": ("mean", "std"), "outputs": ("p_normal",)}
    layers = tuple(
        LayerVerdict(
            layer=layer,
            statistic="largest surprise of a column",
            value=6.0 if layer == over else 1.0,
            limit=4.0,
            p_value=0.5,
            n=300,
            outcome="exceeded" if layer == over else "quiet",
            why="made by hand",
            features=tuple(
                FeatureDrift(
                    name=name,
                    statistic="Kolmogorov-Smirnov",
                    value=0.3 if layer == over and place == 0 else 0.05,
                    limit=0.12,
                    p_value=0.01,
                    drifted=layer == over and place == 0,
                )
                for place, name in enumerate(columns.get(layer, ()))
            ),
        )
        for layer in LAYERS
    )
    return DriftVerdict(
        model="lungline-merged",
        version="3",
        bundle="b" * 64,
        profile="c" * 64,
        window=window,
        layers=layers,
        outcome="exceeded" if over else "quiet",
        verdict="alarm" if over else "quiet",
        severity="hold promotion" if over else "log",
        reasons=("made by hand",),
        confirmations=2,
        windows=3,
        false_alarm_rate=0.01,
        windows_between_false_alarms=1000.0,
        refused={"blank": 6, "inverted": 3},
        predicted={"covid19": 90, "normal": 150, "pneumothorax": 51},
        performance=PerformanceEstimate(
            n=291, groups=291, accuracy=_figure(0.8), atc=_figure(0.78), classes=_classes(0.9)
        ),
        outcome_performance=OutcomePerformance(
            n=100, awaiting=191, elsewhere=0, accuracy=_figure(0.8), classes=_classes(0.93)
        )
        if labels
        else None,
    )


def issued(history: VerdictHistory, given: DriftVerdict) -> Path:
    """Keep a verdict as `lungline monitor` does and return its folder."""
    since, until = date.fromisoformat(given.window.since), date.fromisoformat(given.window.until)
    looked_at = LookedAt.of(between(scored_images(3, seed=1, day=since), "3", since, until))
    with history.giving(given, looked_at):
        pass
    return history.folder / given.window.id / str(given.window.issue)


def _figure(value: float) -> Figure:
    return Figure(value=value, low=value - 0.05, high=value + 0.05, n=291, method="group-bootstrap")


def _classes(sensitivity: float) -> tuple[ClassFigures, ...]:
    undefined = Figure(value=None, n=0, undefined="the class has no operating point")
    return (
        *(
            ClassFigures(
                name=name,
                positives=100,
                negatives=191,
                called=110,
                sensitivity=_figure(sensitivity - 0.03 * k),
                specificity=_figure(0.8),
            )
            for k, name in enumerate(CLASSES[:2])
        ),
        ClassFigures(
            name=CLASSES[2], positives=0, negatives=0, called=0, sensitivity=undefined, specificity=undefined
        ),
    )
