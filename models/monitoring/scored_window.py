"""A window of one version's prediction log as it travels to the judge: its rows, where it lies, and its labels."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_contracts.drift.history import LookedAt
from data_contracts.drift.windows import CutWindow, Place
from data_contracts.errors import DataGateError

_FORMAT = "1"
_KEY = b"lungline_window"


@dataclass(frozen=True, slots=True)
class ScoredWindow:
    """rows: as in the prediction log, but `patient` holds a number that means something in this window only.

    looked_at: what a verdict on it will rest on. labels: image_id and label as given, possibly of other images too;
    empty without labels.
    """

    model_name: str
    version: str
    bundle: str
    place: Place
    rows: pd.DataFrame
    looked_at: LookedAt
    labels: pd.DataFrame

    @classmethod
    def of(
        cls,
        model_name: str,
        bundle: str,
        version: str,
        window: CutWindow,
        looked_at: LookedAt,
        labels: pd.DataFrame,
    ) -> Self:
        """Without the pseudonyms of patients: what is judged is copied to artifact stores."""
        codes = pd.factorize(window.rows["patient"])[0]
        patient = pd.Series(codes, index=window.rows.index).map("patient:{:d}".format)
        rows = window.rows.assign(patient=patient.where(window.rows["patient"] != "", "").astype("str"))
        return cls(model_name, version, bundle, window.place, rows, looked_at, labels.reset_index(drop=True))

    def content_hash(self) -> str:
        """sha256 of the table as `save` writes it."""
        return hashlib.sha256(self._bytes()).hexdigest()

    def save(self, path: Path) -> None:
        """Write parquet with everything inside; a file with the final name is complete."""
        part = path.with_name(path.name + ".part")
        part.write_bytes(self._bytes())
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote. Raises DataGateError for another format."""
        table = pq.read_table(path)
        facts = json.loads((table.schema.metadata or {}).get(_KEY, b"{}"))
        if facts.get("format") != _FORMAT:
            raise DataGateError(
                f"{path.name} is no window that this program reads (format {facts.get('format')!r}).",
                why="Columns may have changed their meaning between versions.",
                cure="Run `lungline monitor` again.",
            )
        rows = table.to_pandas()
        looked_at = LookedAt.model_validate(facts["looked_at"])
        place = looked_at.place(facts["id"])
        labels = pd.DataFrame(facts["labels"], columns=["image_id", "label"], dtype="str")
        return cls(facts["model"], facts["version"], facts["bundle"], place, rows, looked_at, labels)

    def _bytes(self) -> bytes:
        facts = {
            "format": _FORMAT,
            "model": self.model_name,
            "version": self.version,
            "bundle": self.bundle,
            "id": self.place.id,
            "looked_at": self.looked_at.model_dump(mode="json"),
            "labels": self.labels[["image_id", "label"]].to_numpy().tolist(),
        }
        table = pa.Table.from_pandas(self.rows, preserve_index=False)
        metadata = {**(table.schema.metadata or {}), _KEY: json.dumps(facts, sort_keys=True).encode()}
        sink = io.BytesIO()
        pq.write_table(table.replace_schema_metadata(metadata), sink)
        return sink.getvalue()
