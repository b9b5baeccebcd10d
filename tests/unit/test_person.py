"""Who is signed in, asked without loading ZenML where its configuration names no server."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.registry.decisions.person import operating_system_user

# In a process of its own: another test may have loaded ZenML into this one.
ASK = "import sys; from steps.person import signed_in_person; print(signed_in_person(), 'zenml' in sys.modules)"


@pytest.mark.parametrize("config", [None, "", "version: 0.98.0\n", "store:\n  type: sql\n  url: sqlite:///x\n"])
def test_without_a_server_the_operating_system_says_who(tmp_path: Path, config: str | None) -> None:
    environment = os.environ | {"ZENML_CONFIG_PATH": str(tmp_path)}
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    done = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{operating_system_user()} False"
