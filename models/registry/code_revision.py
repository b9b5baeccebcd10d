"""Which commit of the program is running, where it runs from its own git checkout."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

UNKNOWN = "unknown"

_ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = ("data_contracts", "models", "steps", "pipelines")
_SECONDS = 10


def code_revision(root: Path = _ROOT) -> str:
    """The commit's full hash, with "-dirty" where the program's folders differ from it; never a path.

    root: the folder the program's packages lie in. "unknown" where it is not the top of a git checkout (an installed
    wheel, a container image, a folder inside another project's checkout), has no commit, or git does not answer.
    """
    try:
        top, commit = _git(root, "rev-parse", "--show-toplevel", "HEAD").splitlines()
        if Path(top).resolve() != root.resolve():
            return UNKNOWN
        changed = _git(root, "status", "--porcelain", "--", *_PROGRAM)
    except (OSError, subprocess.SubprocessError, ValueError):
        return UNKNOWN
    return f"{commit}-dirty" if changed else commit


def _git(root: Path, *arguments: str) -> str:
    # A hook's GIT_DIR would answer for another repository.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(  # noqa: S603
        ["git", "--no-optional-locks", *arguments],  # noqa: S607
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=True,
    )
    return done.stdout
