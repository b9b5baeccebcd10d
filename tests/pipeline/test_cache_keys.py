"""A step runs again when code it computes with changes, and not for code it has nothing to do with."""

from __future__ import annotations

import importlib
from typing import Any

import pytest


def step_named(name: str) -> Any:
    """Imported here, so that collecting tests loads no ZenML."""
    module, _, function = name.partition(".")
    return getattr(importlib.import_module(f"steps.{module}"), function)


def code_of(step: str) -> set[str]:
    return set(step_named(step).configuration.cache_policy.file_dependencies)


@pytest.mark.parametrize(
    ("step", "file"),
    [
        ("data.ingest", "data_contracts/sources/nih.py"),
        ("data.store_images", "data_contracts/images.py"),
        ("data.store_images", "data_contracts/quality.py"),
        ("data.identify", "data_contracts/near_duplicates.py"),
        ("data.label", "data_contracts/ontology.py"),
        ("data.validate", "data_contracts/expectations/custom.py"),
        ("data.validate", "data_contracts/expectations/split.yaml"),
        ("data.split", "data_contracts/splits.py"),
        ("train.train", "models/training/loop.py"),
        ("train.train", "models/training/augmentation.py"),
        ("train.train", "models/architectures/simple_cnn.py"),
        ("train.train", "models/preprocessing.py"),
        ("train.train", "models/evaluation/operating_point.py"),
        ("train.train", "data_contracts/ontology.py"),
        ("evaluate.evaluate", "models/evaluation/intervals.py"),
        ("explain.explain", "models/explanation/picture.py"),
        ("select.select", "models/evaluation/selection.py"),
        ("report.report", "models/reports/plots.py"),
        ("report.report", "models/reports/templates/report.css"),
    ],
)
def test_a_step_depends_on_the_code_it_computes_with(step: str, file: str) -> None:
    assert file in code_of(step)


@pytest.mark.parametrize(
    ("step", "room"),
    [
        ("train.train", "models/reports/"),
        ("train.train", "models/explanation/"),
        ("train.train", "data_contracts/images.py"),
        ("train.train", "models/registry/tracking.py"),
        ("data.identify", "data_contracts/expectations/"),
        ("data.split", "models/"),
    ],
)
def test_a_step_does_not_depend_on_code_it_has_nothing_to_do_with(step: str, room: str) -> None:
    assert not [file for file in code_of(step) if file.startswith(room)]


def test_registration_is_never_taken_from_the_cache() -> None:
    assert step_named("select.register").configuration.enable_cache is False
