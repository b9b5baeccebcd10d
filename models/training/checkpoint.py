"""Checkpoints: a training's state on disk, so that a killed training goes on and ends with the same numbers.

Each is a sealed folder: state.safetensors, checkpoint.json and a manifest of both. It has its name only when it is
complete, and is read only as a whole: one that is damaged, or of another training, is refused with the reason and the
one before it is tried.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from data_contracts.errors import ModelGateError
from models.registry.sealed_folder import FolderTakenError, SealedFolder, canonical_json, write_sealed
from models.training.state import Progress, TrainingState

FORMAT_VERSION = 1
STATE = "state.safetensors"
FACTS = "checkpoint.json"
KEPT = 2
# Writing may take this part of the time: a big network with short epochs is not written after each of them.
LARGEST_SHARE = 0.05
# At least so long between two within one epoch.
SECONDS_BETWEEN = 600.0
# A training that wrote nothing for so long will not be gone on with.
ABANDONED_SECONDS = 30 * 24 * 3600

_log = logging.getLogger("lungline.training")
Say = Callable[[str], None]


class Checkpoints:
    """The checkpoints of one training in a folder of their own.

    identity: name -> value of everything that decides the numbers; a checkpoint with another value of any of them is
    refused. say: told, in a sentence, of a resumed training, a refused checkpoint, and one that could not be written,
    which never stops the training.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str], *, say: Say | None = None) -> None:
        self.folder = folder
        self._identity = dict(identity)
        self._say = say or _log.warning
        self._written_at = time.monotonic()
        self._writing_took = 0.0
        self._good: list[Path] = []
        self._complained = False

    def is_due(self, state: TrainingState) -> bool:
        """Whether it is time: after an epoch, where state.sums is empty, or within one."""
        wait = self._writing_took * (1 / LARGEST_SHARE - 1)
        if state.sums:
            wait = max(wait, SECONDS_BETWEEN)
        return time.monotonic() - self._written_at >= wait

    def write(self, state: TrainingState) -> None:
        """Write a checkpoint and remove all but the last two. A disk that refuses is spoken of once."""
        from safetensors.torch import save

        began = time.monotonic()
        progress = state.progress()
        path = self.folder / f"{progress.epoch:04d}-{progress.batches_done:07d}"
        facts = {"format_version": FORMAT_VERSION, "identity": self._identity, "progress": progress.model_dump()}
        try:
            tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors().items()}
            if path.exists():  # refused by `resume`, or written by the same training at the same time
                shutil.rmtree(path, ignore_errors=True)
            write_sealed(path, {STATE: save(tensors), FACTS: canonical_json(facts)})
        except (FolderTakenError, OSError) as error:
            if not self._complained:
                reason = error.strerror if isinstance(error, OSError) else "another training writes there"
                self._say(f"no checkpoint could be written to {self.folder}: {reason}; the training goes on")
            self._complained = True
        else:
            self._good = [*self._good, path][-KEPT:]
            self._remove_others()
        self._written_at = time.monotonic()
        self._writing_took = self._written_at - began

    def resume(self, state: TrainingState) -> bool:
        """Bring the state to the newest checkpoint that is sound and this training's; False where there is none."""
        found = sorted(
            path for path in self.folder.glob("[0-9]*-[0-9]*") if path.is_dir() and ".part" not in path.name
        )
        for path in reversed(found):
            try:
                self._load(path, state)
            except (ModelGateError, ValueError, OSError) as error:
                reason = error.what if isinstance(error, ModelGateError) else str(error)
                self._say(f"checkpoint {path.name} is not used: {reason}")
                continue
            self._good = [path]
            os.utime(self.folder)  # not abandoned, though its files are old
            done = len(state.sums)
            self._say(f"resumed at epoch {state.epoch}" + (f", after {done} of its batches" if done else ""))
            return True
        return False

    def _load(self, path: Path, state: TrainingState) -> None:
        """Raises ModelGateError for a changed file, ValueError with the reason for what is not this training's."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        sealed = SealedFolder.open(path, [STATE, FACTS])
        facts = json.loads(sealed.read(FACTS))
        if not isinstance(facts, dict) or facts.get("format_version") != FORMAT_VERSION:
            raise ValueError(f"it has another format than version {FORMAT_VERSION}")
        theirs = facts.get("identity", {})
        if differ := sorted(
            k for k in self._identity.keys() | theirs.keys() if self._identity.get(k) != theirs.get(k)
        ):
            raise ValueError("it belongs to another training; these differ: " + ", ".join(differ))
        try:
            progress = Progress.model_validate(facts.get("progress"))
            tensors = load(sealed.read(STATE))
        except (SafetensorError, ValidationError) as error:
            raise ValueError(f"it cannot be read: {str(error).splitlines()[0]}") from error
        state.restore(progress, tensors)

    def _remove_others(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir() and path not in self._good:
                shutil.rmtree(path, ignore_errors=True)


def remove_abandoned(trainings: Path) -> None:
    """Remove those folders in `trainings`, one per training, in which nothing was written for a month.

    Interrupted trainings that nobody repeated leave them behind. One that runs writes after its epochs, so it keeps its
    own; one that is resumed at this very moment begins anew at worst.
    """
    for folder in trainings.glob("[0-9a-f]*"):
        with suppress(OSError):  # another process may be faster
            written = max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
            if time.time() - written > ABANDONED_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)
