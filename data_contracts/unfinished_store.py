"""An image store while it is built: rows appended to one file, and a journal from which a killed build goes on.

The journal has a line for each examined file. It is written once the rows it speaks of are on the disk, so what it
holds is there; half a last line, and rows without a line, are cut off.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from data_contracts.catalog import DUPLICATE, KEPT
from data_contracts.decode_pass import DecodePass, Examined
from data_contracts.disk import require_room
from data_contracts.known_files import Facts, KnownFiles, Stamp, StoredRows

Progress = Callable[[int, int, str], None]  # files done, files in all, a remark

_JOURNAL_EVERY = 256  # files: what a killed build has to do again at most
_ROWS_AT_ONCE = 64


class UnfinishedStore:
    """The folder of one build, which nobody else may touch meanwhile; its sub-folder `store` becomes the store.

    That is `decoded`, or `linked` where images.npy is but another name of an earlier store's: what a killed build left
    in `decoded` is written to by the next one, so nothing in it may ever belong to a finished store too.

    facts, stamps: of every file taken in so far, in order. rows: how many of them have a row in images.npy. A file
    whose pixels came before is a duplicate and has none.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self.store = folder / "decoded"
        self._images = self.store / "images.npy"
        self._linked = folder / "linked"
        self._journal = folder / "journal.jsonl"
        self._size = size
        self._forget()

    def write(self, files: Sequence[str], decode_pass: DecodePass, progress: Progress) -> None:
        """Examine the files and write their rows; what a killed build wrote of them is taken over first.

        Raises EnvironmentProblem before anything is decoded where the disk is too small, and OSError where it fills
        up all the same.
        """
        shutil.rmtree(self._linked, ignore_errors=True)
        self.store.mkdir(parents=True, exist_ok=True)
        self._images.touch()
        self._journal.touch()
        with self._images.open("r+b") as out, self._journal.open("r+b") as journal:
            self._resume(files, decode_pass, out, journal)
            rows = _RowWriter(out, self.rows, len(files), self._size)
            if self.rows or not decode_pass.knows_rows:
                rows.begin()
            lines: list[str] = []
            for some in decode_pass.examine_all(files[len(self.facts) :]):
                for examined in some:
                    lines.append(_line(examined))
                    if self._take_in(examined):
                        rows.append(examined)
                if len(lines) >= _JOURNAL_EVERY and rows.begun:
                    _to_disk(out)
                    journal.write("".join(lines).encode())
                    journal.flush()
                    lines.clear()
                progress(len(self.facts), len(files), "")
            earlier = rows.all_of_one_store()
            if earlier is not None and self._link(earlier):
                return
            rows.begin()
            _to_disk(out)
            journal.write("".join(lines).encode())
            journal.flush()
            out.seek(0)
            out.write(_header(self.rows, self._size))
            _to_disk(out)

    def _resume(self, files: Sequence[str], decode_pass: DecodePass, out: IO[bytes], journal: IO[bytes]) -> None:
        """Keep the rows of the files that still lead the list unchanged, cut off the rest, and stand at the end."""
        entries = _entries(journal)
        known = KnownFiles()
        for entry, _ in entries:
            known.remember(entry.file, entry.stamp, entry.facts)
        again = decode_pass.knowing(known)
        journaled = 0
        for (entry, end), file in zip(entries, files, strict=False):
            if entry.file != file or not _same(again.examine(file), entry):
                break
            self._take_in(entry)
            journaled = end
        header = _header(0, self._size)
        end_of_rows = len(header) + self.rows * self._size**2
        if out.seek(0, os.SEEK_END) < end_of_rows:  # the rows were moved to their place already
            self._forget()
            journaled, end_of_rows = 0, len(header)
        out.truncate(end_of_rows)
        out.seek(0)
        out.write(header)
        out.seek(end_of_rows)
        journal.truncate(journaled)
        journal.seek(journaled)

    def _take_in(self, examined: Examined) -> bool:
        """Note the next file; whether its pixels become the next row."""
        facts = dict(examined.facts)
        is_new = facts["status"] == KEPT and facts["image_id"] not in self._first_file
        if is_new:
            self._first_file[facts["image_id"]] = examined.file
            facts["row"] = self.rows
            self.rows += 1
        elif facts["status"] == KEPT:
            facts.update(status=DUPLICATE, reason=f"same pixels as {self._first_file[facts['image_id']]}")
        self.facts.append(facts)
        self.stamps.append(examined.stamp)
        return is_new

    def _link(self, earlier: StoredRows) -> bool:
        """Let the store's images.npy be another name of the earlier store's; whether the file system can do that."""
        with suppress(OSError):
            self._linked.mkdir()
            os.link(earlier.file, self._linked / self._images.name)
            self.store = self._linked
            return True
        return False

    @property
    def linked(self) -> bool:
        """Whether the rows are an earlier store's."""
        return self.store == self._linked

    def _forget(self) -> None:
        self.facts: list[Facts] = []
        self.stamps: list[Stamp | None] = []
        self.rows = 0
        self._first_file: dict[str, str] = {}


class _RowWriter:
    """Appends rows. As long as they are the first rows of one earlier store, in its order, they are only counted."""

    def __init__(self, out: IO[bytes], rows_there: int, most_rows: int, size: int) -> None:
        self.begun = False
        self._out = out
        self._needed = (most_rows - rows_there) * size**2
        self._counted = 0
        self._earlier: StoredRows | None = None

    def append(self, examined: Examined) -> None:
        if not self.begun:
            self._earlier = self._earlier or examined.rows
            if self._earlier and examined.rows is self._earlier and examined.row == self._counted:
                self._counted += 1
                return
            self.begin()
        self._out.write(np.ascontiguousarray(examined.pixels).data)

    def begin(self) -> None:
        """Make sure that the disk has room, and write what was only counted so far."""
        if self.begun:
            return
        self.begun = True
        require_room(Path(self._out.name).parent, self._needed, "The image store")
        counted = self._earlier.images[: self._counted] if self._earlier else ()
        for start in range(0, self._counted, _ROWS_AT_ONCE):
            self._out.write(np.ascontiguousarray(counted[start : start + _ROWS_AT_ONCE]).data)

    def all_of_one_store(self) -> StoredRows | None:
        """The earlier store that has exactly the rows that came, where there is one and none was written yet."""
        same = not self.begun and self._earlier is not None and len(self._earlier.images) == self._counted
        return self._earlier if same else None


def _same(now: Examined, before: Examined) -> bool:
    """Whether a file would be taken in as it was: content decides, or why it could not be read."""
    return all(now.facts[name] == before.facts[name] for name in ("file_sha256", "status", "reason"))


def _line(examined: Examined) -> str:
    return json.dumps([examined.file, examined.stamp, examined.facts]) + "\n"


def _entries(journal: IO[bytes]) -> list[tuple[Examined, int]]:
    """What the journal says of each file, and where its line ends; nothing after a line that is not whole."""
    entries: list[tuple[Examined, int]] = []
    end = 0
    for line in journal:
        end += len(line)
        try:
            file, stamp, facts = json.loads(line)
        except ValueError:
            break
        entries.append((Examined(file, None if stamp is None else Stamp(*stamp), facts), end))
    return entries


def _header(rows: int, size: int) -> bytes:
    # numpy pads the header so that the first axis can grow in place: it has the same length for any `rows`.
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (rows, size, size)}
    )
    return header.getvalue()


def _to_disk(out: IO[bytes]) -> None:
    out.flush()
    os.fsync(out.fileno())
