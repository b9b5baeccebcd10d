"""A step runs again when code it computes with changes, and not for code it has nothing to do with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from data_contracts.images import decoder_versions

STEPS = {
    "data": ["ingest", "store_images", "identify", "label", "validate", "split"],
    "train": ["train"],
    "evaluate": ["evaluate"],
    "explain": ["explain"],
    "audit": ["audit"],
    "profile": ["profile"],
    "select": ["select", "register"],
    "report": ["report"],
}
# In a process of its own: ZenML changes the logging of whatever process it is loaded in.
PROGRAM = f"""
import importlib, inspect, json
from zenml.utils import source_utils
found = {{}}
for module, names in {STEPS!r}.items():
    for name in names:
        step = getattr(importlib.import_module("steps." + module), name)
        configuration = step.configuration
        policy = configuration.cache_policy
        files = policy.file_dependencies if policy else None
        function = policy.cache_func if policy else None
        found[module + "." + name] = {{
            "files": files or [],
            "parameters": list(inspect.signature(step.entrypoint).parameters),
            "versions": source_utils.load(function)() if function else "",
            "cached": configuration.enable_cache,
        }}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The cache settings of every step, by module and name."""
    folder = tmp_path_factory.mktemp("zenml")
    program = folder / "settings.py"
    program.write_text(PROGRAM, encoding="utf-8")
    root = Path(__file__).parents[2]
    variables = {**os.environ, "ZENML_CONFIG_PATH": str(folder), "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, str(program)], env=variables, capture_output=True, text=True, check=True, timeout=120
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


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
        ("train.train", "data_contracts/targets.py"),
        ("evaluate.evaluate", "data_contracts/targets.py"),
        ("evaluate.evaluate", "models/evaluation/intervals.py"),
        ("explain.explain", "models/explanation/picture.py"),
        ("audit.audit", "data_contracts/raster.py"),
        ("profile.profile", "data_contracts/input_checks.py"),
        ("select.select", "models/evaluation/selection.py"),
        ("report.report", "models/reports/plots.py"),
        ("report.report", "models/reports/templates/report.css"),
    ],
)
def test_a_step_depends_on_the_code_it_computes_with(
    steps: dict[str, dict[str, Any]], step: str, file: str
) -> None:
    assert file in steps[step]["files"]


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
def test_a_step_does_not_depend_on_code_it_has_nothing_to_do_with(
    steps: dict[str, dict[str, Any]], step: str, room: str
) -> None:
    assert not [file for file in steps[step]["files"] if file.startswith(room)]


def test_what_reads_the_data_folder_depends_on_every_file_in_it(steps: dict[str, dict[str, Any]]) -> None:
    """F55: the folder's name says nothing of a picture or a lung mask that was replaced in it."""
    readers = {name: found["parameters"] for name, found in steps.items() if "data_dir" in found["parameters"]}
    assert sorted(readers) == ["audit.audit", "data.ingest", "data.store_images", "explain.explain"]
    assert [name for name, parameters in readers.items() if "data_fingerprint" not in parameters] == []


@pytest.mark.parametrize("step", ["data.ingest", "data.store_images"])
def test_a_step_that_reads_files_depends_on_what_can_read_them(
    steps: dict[str, dict[str, Any]], step: str
) -> None:
    """A file that needs the extra `dicom` is read by the run after its installation."""
    for name, version in decoder_versions().items():
        assert f" {name}={version}" in f" {steps[step]['versions']} "


def test_registration_is_never_taken_from_the_cache(steps: dict[str, dict[str, Any]]) -> None:
    assert steps["select.register"]["cached"] is False
