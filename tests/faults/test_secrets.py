"""Secrets: none lies in the project, and none leaves it in an error, a traceback or a log."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from data_contracts.redaction import REDACTED, RedactedRecord, issued_secrets, redact

PROJECT = Path(__file__).parents[2]
_PASSED_OVER = {".git", ".venv", ".venv-kubeflow", ".lungline", "__pycache__", "build", "dist"}

# Put together here, so that the scan does not find this file.
AWS = "AKIA" + "IOSFODNN7EXAMPLE"
GITHUB = "ghp_" + "a1B2" * 9
HUB = "hf_" + "Ab3" * 12
JWT = ".".join(("eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0In0", "s5wXb"))
PRIVATE = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow\nIBAAKC\n-----END RSA PRIVATE KEY-----"


def files_of_the_project() -> Iterator[tuple[str, str]]:
    """Name and text of every text file a person may commit."""
    for folder, names, files in os.walk(PROJECT):
        names[:] = sorted(
            name for name in names if name not in _PASSED_OVER and not name.endswith(("_cache", ".egg-info"))
        )
        for name in sorted(files):
            path = Path(folder) / name
            try:
                yield path.relative_to(PROJECT).as_posix(), path.read_text(encoding="utf-8")
            except (UnicodeDecodeError, OSError):
                continue  # a picture, or a link to nowhere


def test_f60_no_file_of_the_project_holds_a_secret() -> None:
    scanned = dict(files_of_the_project())
    assert {"pyproject.toml", "pipelines/cli/__init__.py", "pipelines/recipes/merged.yaml"} <= set(scanned)
    assert [name for name, text in scanned.items() if issued_secrets(text)] == []


def test_f60_no_recipe_sets_anything_that_names_a_secret() -> None:
    words = ("password", "secret", "token", "api_key", "access_key", "credential")
    for path in sorted((PROJECT / "pipelines" / "recipes").glob("*.yaml")):
        for key in _keys(yaml.safe_load(path.read_text(encoding="utf-8"))):
            assert not any(word in key.casefold() for word in words), f"{path.name}: {key}"


def _keys(content: object) -> Iterator[str]:
    if isinstance(content, dict):
        for key, value in content.items():
            yield str(key)
            yield from _keys(value)
    elif isinstance(content, list):
        for value in content:
            yield from _keys(value)


@pytest.mark.parametrize("secret", [AWS, GITHUB, HUB, JWT, PRIVATE])
def test_f60_the_scan_finds_what_issuers_issue(secret: str) -> None:
    assert issued_secrets(f"first line\nkey = '{secret}'\n") == [secret]
    assert redact(f"it was {secret}, it is gone") == f"it was {REDACTED}, it is gone"


def test_f60_a_private_key_that_was_cut_off_is_found_too() -> None:
    assert "MIIEow" not in redact(PRIVATE[:50])


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("postgres://anna:hunter2@db:5432/mlflow refused", f"postgres://{REDACTED}@db:5432/mlflow refused"),
        (
            "GET https://user@host/x?signature=abc123&n=1",
            f"GET https://{REDACTED}@host/x?signature={REDACTED}&n=1",
        ),
        ("Authorization: Bearer abcdef.123456", f"Authorization: Bearer {REDACTED}"),
        ("password=hunter2 user=anna", f"password={REDACTED} user=anna"),
        ('{"api_key": "abc def", "n": 3}', f'{{"api_key": {REDACTED}, "n": 3}}'),
        ("X-Amz-Signature=deadbeef&X-Amz-Date=2", f"X-Amz-Signature={REDACTED}&X-Amz-Date=2"),
        ("aws_secret_access_key = wJalrXUtnFEMI", f"aws_secret_access_key = {REDACTED}"),
        ("LUNGLINE_PATIENT_KEY=0123456789abcdef", f"LUNGLINE_PATIENT_KEY={REDACTED}"),
    ],
)
def test_f60_what_is_named_a_secret_is_redacted_and_the_rest_stays(said: str, left: str) -> None:
    assert redact(said, {}) == left


@pytest.mark.parametrize(
    "said",
    [
        "Put the token into KAGGLE_API_TOKEN, or log in.",
        "bundle 3b2e4f" + "0" * 58 + " is not the one that was registered",
        "https://example.org/a@b is an address with an at sign behind the host",
        "mlflow at http://127.0.0.1:5000 did not answer",
        "image 12.png: keys: 3, tokenizer: none",
    ],
)
def test_f60_ordinary_sentences_stay_as_they_are(said: str) -> None:
    assert redact(said, {}) == said


def test_f60_the_values_of_secret_variables_are_redacted_wherever_they_stand() -> None:
    environment = {
        "KAGGLE_KEY": "0f0f0f0f0f",
        "DB_PASSWORD": "correct horse",
        "HOME_TOKEN": "short",
        "EDITOR": "vim-editor",
    }
    said = redact("0f0f0f0f0f, correct horse, short, vim-editor", environment)
    assert said == f"{REDACTED}, {REDACTED}, short, vim-editor"


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger like any library's, with a handler of its own, while records are redacted."""
    make = logging.getLogRecordFactory()
    logging.setLogRecordFactory(RedactedRecord)
    stream = io.StringIO()
    logger, handler = logging.getLogger("some.library"), logging.StreamHandler(stream)
    logger.addHandler(handler)
    logger.propagate = False
    yield logger, stream
    logger.removeHandler(handler)
    logging.setLogRecordFactory(make)


def test_f60_log_messages_arguments_and_tracebacks_hold_no_secret(log: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = log
    logger.warning("password=%s for %s after %d tries", "hunter2", "https://anna:hunter2@host/x", 3)
    logger.warning("settings: %(settings)s", {"settings": {"token": "hunter2"}})
    try:
        int("https://anna:hunter2@host/x")
    except ValueError:
        logger.exception("no luck")
    said = stream.getvalue()
    assert "hunter2" not in said
    assert "after 3 tries" in said
    assert "ValueError: invalid literal" in said


def test_f60_the_command_line_redacts_errors_and_tracebacks(tmp_path: Path) -> None:
    """A recipe with a secret where none belongs is refused by its value, and the value stays unsaid."""
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(f"name: mine\npassword: {GITHUB}\nurl: https://anna:hunter2@host\n")
    ran = subprocess.run(
        [Path(sys.executable).with_name("lungline"), "--debug", "train", recipe],
        capture_output=True,
        text=True,
        env={**os.environ, "LUNGLINE_HOME": str(tmp_path / "home")},
        timeout=60,
    )
    assert ran.returncode == 2
    assert "is not a key of a recipe" in ran.stderr
    assert "Traceback" in ran.stderr
    assert ran.stderr.count(REDACTED) >= 2
    assert GITHUB not in ran.stdout + ran.stderr
    assert "hunter2" not in ran.stdout + ran.stderr
