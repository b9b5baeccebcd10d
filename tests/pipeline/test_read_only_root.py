"""F57: as in the images: user 10001, no HOME, a root file system that cannot be written."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.pipeline.conftest import TINY

USER = "10001"
SMALLEST = {
    **TINY,
    "name": "smallest",
    "architectures": [{"name": "simple_cnn"}],
    "training": {**TINY["training"], "epochs": 1},
}
# In a mount namespace of its own: two folders stay writable, nothing else does. The one capability lets user 10001
# read the interpreter where that lies in root's home; it lets nobody write.
AS_IN_A_POD = """
set -e
mount --make-rprivate /
for folder in "$LUNGLINE_HOME" "$TMPDIR"; do mount --bind "$folder" "$folder"; done
mount -o remount,bind,ro /
for place in /dev/shm /tmp /run /var/tmp /home; do
  if mountpoint -q "$place"; then mount -o remount,bind,ro "$place"; fi
done
exec setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups --no-new-privs \\
  --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search --bounding-set=-all,+dac_read_search "$@"
""".replace("\\\\", "\\")


class Pod:
    """Folders like those of a pod, and commands run over them."""

    def __init__(self, folder: Path) -> None:
        self.home, self.temporary = folder / "home", folder / "tmp"
        for place in (self.home, self.temporary):
            place.mkdir(parents=True)
            os.chown(place, int(USER), int(USER))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "OMP_NUM_THREADS")}
        return subprocess.run(
            ["unshare", "--mount", "sh", "-c", AS_IN_A_POD, "sh", *command],
            env={**kept, "LUNGLINE_HOME": str(self.home), "TMPDIR": str(self.temporary), "USER_ID": USER},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def lungline(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(str(Path(sys.executable).with_name("lungline")), *arguments)


@functools.cache
def _allowed() -> bool:
    if os.geteuid() != 0 or not (shutil.which("unshare") and shutil.which("setpriv")):
        return False
    with tempfile.TemporaryDirectory() as folder:
        return Pod(Path(folder)).run("true").returncode == 0


@pytest.fixture(scope="module")
def pod() -> Iterator[Pod]:
    if not _allowed():
        pytest.skip("this machine gives nobody a mount namespace and another user")
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folder lets only root in
        Path(folder).chmod(0o755)
        yield Pod(Path(folder))


def test_the_rest_of_the_machine_cannot_be_written(pod: Pod) -> None:
    tried = pod.run("touch", "/lungline-was-here", "/tmp/lungline-was-here", str(pod.home / "fine"))  # noqa: S108
    assert tried.stderr.count("cannot touch") == 2
    assert (pod.home / "fine").exists()


@pytest.mark.parametrize("arguments", [("--help",), ("doctor",)])
def test_commands_answer(pod: Pod, arguments: tuple[str, ...]) -> None:
    done = pod.lungline(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_recipe_trains_and_writes_into_the_workspace(pod: Pod, phantom: Path) -> None:
    data, recipe = pod.temporary / "data", pod.temporary / "smallest.yaml"
    shutil.copytree(phantom, data)
    recipe.write_text(yaml.safe_dump(SMALLEST), encoding="utf-8")
    done = pod.lungline("train", str(recipe), "--data", str(data))
    assert done.returncode == 0, done.stderr
    assert list(pod.home.rglob("report.html"))
