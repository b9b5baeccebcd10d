"""The command is quick to answer, says what is wrong in words, and ends with the documented exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.commands.output import document_alone, print_json

LUNGLINE = str(Path(sys.executable).with_name("lungline"))


def lungline(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LUNGLINE_HOME": str(cwd / "home"), "HOME": str(cwd), **variables}
    return subprocess.run(
        [LUNGLINE, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def modules_after(statement: str) -> set[str]:
    program = f"import sys; {statement}; print(' '.join(name for name in sys.modules if '.' not in name))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


def test_help_needs_neither_torch_nor_zenml_nor_mlflow() -> None:
    loaded = modules_after("import pipelines.cli")
    assert not loaded & {"torch", "zenml", "mlflow", "great_expectations", "pandas", "numpy"}


def test_reading_a_recipe_needs_neither_torch_nor_zenml_nor_mlflow() -> None:
    loaded = modules_after("from pipelines.recipe import load_recipe; load_recipe('merged')")
    assert not loaded & {"torch", "zenml", "mlflow", "great_expectations", "sklearn"}


def test_unit_tests_never_load_zenml() -> None:
    """Every test file of this folder, imported in one process."""
    files = sorted(Path(__file__).parent.glob("test_*.py"))
    names = ", ".join(f"tests.unit.{file.stem}" for file in files)
    assert "zenml" not in modules_after(f"import {names}")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "quickstrat"), "did you mean 'quickstart'?"),
        (("train", "merged"), "no data folder was given"),
        (("train", "merged", "--data", "nowhere"), "nowhere does not exist"),
        (("train", "merged", "--set", "training.epoch=3"), "training.epoch = 3"),
        (("data", "list", "--data", "nowhere"), "nowhere does not exist"),
        (("tarin",), "tarin"),
        (("train", "merged", "--epochs", "3"), "--epochs"),
    ],
)
def test_usage_errors_end_with_2_and_say_what_to_do(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = lungline(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "What to do:" in done.stderr
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    assert "Traceback" in lungline("--debug", "train", "quickstrat", cwd=tmp_path).stderr


def test_a_home_that_cannot_be_written_ends_with_5(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = lungline("status", cwd=tmp_path, LUNGLINE_HOME=str(tmp_path / "file" / "home"))
    assert done.returncode == 5
    assert "Set LUNGLINE_HOME" in done.stderr


def test_data_list_shows_what_lies_there(tmp_path: Path) -> None:
    drawn = lungline("data", "phantom", "raw data", "--images", "40", "--size", "64", cwd=tmp_path)
    assert drawn.returncode == 0, drawn.stderr
    listed = json.loads(lungline("data", "list", "--data", "raw data", "--json", cwd=tmp_path).stdout)
    assert sum(source["images_on_disk"] for source in listed["sources"]) == 40
    assert all(source["licence"] for source in listed["sources"])
    found = {source["name"] for source in listed["sources"] if source["folder"]}
    assert found == {"radiography", "mendeley", "nih"}
    assert not (tmp_path / "home").exists(), "listing writes nothing"


def test_a_phantom_never_overwrites_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    refused = lungline("data", "phantom", "mine", cwd=tmp_path)
    assert refused.returncode == 2
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_document_is_alone_on_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    with document_alone(True):
        print("a library says what it is doing")
        print_json({"answer": 42})
    out, err = capfd.readouterr()
    assert json.loads(out) == {"answer": 42}
    assert "a library says" in err
