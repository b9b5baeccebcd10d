"""A step runs again when code it computes with changes, and not for code it has nothing to do with."""

from __future__ import annotations

import pytest

from steps.data import identify, ingest, label, split, store_images, validate
from steps.evaluate import evaluate
from steps.explain import explain
from steps.report import report
from steps.select import register, select
from steps.train import train


def code_of(step: object) -> set[str]:
    return set(step.configuration.cache_policy.file_dependencies)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("step", "file"),
    [
        (ingest, "data_contracts/sources/nih.py"),
        (store_images, "data_contracts/images.py"),
        (store_images, "data_contracts/quality.py"),
        (identify, "data_contracts/near_duplicates.py"),
        (label, "data_contracts/ontology.py"),
        (validate, "data_contracts/expectations/custom.py"),
        (validate, "data_contracts/expectations/split.yaml"),
        (split, "data_contracts/splits.py"),
        (train, "models/training/loop.py"),
        (train, "models/training/augmentation.py"),
        (train, "models/architectures/simple_cnn.py"),
        (train, "models/preprocessing.py"),
        (train, "models/evaluation/operating_point.py"),
        (train, "data_contracts/ontology.py"),
        (evaluate, "models/evaluation/intervals.py"),
        (explain, "models/explanation/picture.py"),
        (select, "models/evaluation/selection.py"),
        (report, "models/reports/plots.py"),
        (report, "models/reports/templates/report.css"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_step_depends_on_the_code_it_computes_with(step: object, file: str) -> None:
    assert file in code_of(step)


@pytest.mark.parametrize(
    ("step", "room"),
    [
        (train, "models/reports/"),
        (train, "models/explanation/"),
        (train, "data_contracts/images.py"),
        (train, "models/registry/tracking.py"),
        (identify, "data_contracts/expectations/"),
        (split, "models/"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_a_step_does_not_depend_on_code_it_has_nothing_to_do_with(step: object, room: str) -> None:
    assert not [file for file in code_of(step) if file.startswith(room)]


def test_registration_is_never_taken_from_the_cache() -> None:
    assert register.configuration.enable_cache is False
