"""A pseudonym keeps one patient's images together, and only the holder of the key could make it again."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_contracts.errors import EnvironmentProblem
from data_contracts.pseudonyms import patient_key, pseudonym


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUNGLINE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("LUNGLINE_PATIENT_KEY", raising=False)
    return tmp_path / "home"


def test_a_pseudonym_is_the_keyed_hash_of_rfc_4231() -> None:
    # Test case 2 of RFC 4231.
    assert pseudonym("what do ya want for nothing?", b"Jefe") == "5bdcc146bf60754e"


def test_blanks_round_an_identifier_do_not_matter_and_none_gives_none() -> None:
    key = b"0123456789abcdef"
    assert pseudonym(" 4711 ", key) == pseudonym("4711", key)
    assert pseudonym("4711", key) != pseudonym("4711", key[::-1])
    assert pseudonym("  ", key) == ""


def test_the_key_is_made_once_and_readable_by_its_owner_alone(home: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = {future.result() for future in [pool.submit(patient_key) for _ in range(8)]}
    assert len(keys) == 1
    assert len(bytes.fromhex(keys.pop().decode())) == 32
    assert [path.name for path in home.iterdir()] == ["patient.key"]
    assert stat.S_IMODE((home / "patient.key").stat().st_mode) == 0o600


def test_the_variable_goes_before_the_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGLINE_PATIENT_KEY", "a secret of the whole team")
    assert patient_key() == b"a secret of the whole team"
    assert not home.exists()


def test_a_short_key_and_a_home_that_is_no_folder_are_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.write_text("not a folder")
    with pytest.raises(EnvironmentProblem, match="cannot be read or written"):
        patient_key()
    monkeypatch.setenv("LUNGLINE_PATIENT_KEY", "short")
    with pytest.raises(EnvironmentProblem, match="shorter than 16") as refused:
        patient_key()
    assert "short " not in str(refused.value).replace("shorter", "")
