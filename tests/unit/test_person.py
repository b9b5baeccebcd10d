"""Who is signed in, asked without loading ZenML where its configuration names no server."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from models.registry.decisions.person import operating_system_user
from steps.person import signed_in_person


@pytest.mark.parametrize("config", [None, "", "version: 0.98.0\n", "store:\n  type: sql\n  url: sqlite:///x\n"])
def test_without_a_server_the_operating_system_says_who(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str | None
) -> None:
    monkeypatch.setenv("ZENML_CONFIG_PATH", str(tmp_path))
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    assert signed_in_person() == operating_system_user()
    assert "zenml" not in sys.modules
