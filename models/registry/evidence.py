"""The evidence kept with a version: what a review or a replay needs later, sealed, and without anybody's name.

It lies beside the bundle under the version's run, in a folder named by its hash, and the version's tag says which hash
that is. What was not handed over at registration is absent, and a review says so.
"""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from data_contracts.catalog import Catalog
from data_contracts.errors import ModelGateError
from data_contracts.image_store import ImageStore
from data_contracts.leakage import leaking_pairs
from models.audit.results import AuditReport
from models.evaluation.predictions import Predictions
from models.evaluation.results import Evaluations
from models.explanation.results import Explanation
from models.registry.attachment import Attachment
from models.registry.outage import store_errors
from models.registry.sealed_folder import SealedFolder, canonical_json
from models.registry.tracking import TrackingStore
from models.registry.versions import RegisteredVersion

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

EVIDENCE_TAG = "lungline.evidence"
TEST_SET_TAG = "lungline.test_set"
READ_SPLITS = ("val", "test", "external")

PREDICTIONS, CATALOG = "predictions.parquet", "catalog.parquet"
EVALUATIONS, AUDIT, EXPLANATION = "evaluations.json", "audit.json", "explanation.json"
LINEAGE, RECIPE, ENVIRONMENT = "lineage.json", "recipe.yaml", "environment.json"
FILES = (PREDICTIONS, CATALOG, EVALUATIONS, AUDIT, EXPLANATION, LINEAGE, RECIPE, ENVIRONMENT)
EVIDENCE = Attachment("evidence", EVIDENCE_TAG, FILES)

# Columns of the catalog in which a source may have written who the patient is.
_NAMING = ("file", "mask_file", "raw_label", "reason")


class SourceLineage(BaseModel):
    """One source of the data. releases, licences: each different one, as the adapter recognised it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    releases: list[str]
    licences: list[str]
    images: int


class DataLineage(BaseModel):
    """What a version's data were.

    counts: files offered, kept, quarantined, duplicate. splits: split -> class -> images. groups: split -> identity
    groups. leaking_pairs: pairs of images in two splits that share a picture, a patient or a group.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    catalog_hash: str
    store_hash: str
    counts: dict[str, int]
    sources: list[SourceLineage]
    splits: dict[str, dict[str, int]]
    groups: dict[str, int]
    leaking_pairs: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a version besides its bundle; None where it was not handed over.

    predictions, catalog: of the splits in READ_SPLITS; patient is the identity group where there is a patient id, and
    file names are gone. environment: package -> version of everything that was installed.
    """

    predictions: Predictions | None = None
    catalog: Catalog | None = None
    evaluations: Evaluations | None = None
    audit: AuditReport | None = None
    explanation: Explanation | None = None
    lineage: DataLineage | None = None
    recipe: dict[str, JsonValue] | None = None
    environment: dict[str, str] | None = None

    @classmethod
    def of(
        cls,
        *,
        catalog: Catalog,
        store: ImageStore,
        predictions: Predictions,
        evaluations: Evaluations,
        recipe: Mapping[str, JsonValue],
        audit: AuditReport | None = None,
        explanation: Explanation | None = None,
    ) -> Self:
        """The evidence of a training run. catalog: split, over the store; recipe: the whole recipe as JSON."""
        kept = catalog.kept
        return cls(
            predictions=Predictions(_nameless(predictions.frame), predictions.multi_label),
            catalog=Catalog.of(_nameless(kept[kept["split"].isin(READ_SPLITS)])),
            evaluations=evaluations,
            audit=audit,
            explanation=explanation,
            lineage=lineage_of(catalog, store.content_hash),
            recipe=dict(recipe),
            environment=environment_lock(),
        )

    @property
    def missing(self) -> list[str]:
        """What is absent, in words."""
        return [field.name for field in fields(self) if getattr(self, field.name) is None]


def lineage_of(catalog: Catalog, store_hash: str) -> DataLineage:
    """Where the data came from and how they were divided."""
    kept = catalog.kept
    in_split = kept[kept["split"] != ""]
    splits = {
        str(split): {str(label): int(n) for label, n in labels.value_counts().sort_index().items()}
        for split, labels in in_split.groupby("split")["label"]
    }
    return DataLineage(
        catalog_hash=catalog.content_hash(),
        store_hash=store_hash,
        counts=catalog.counts(),
        sources=[
            SourceLineage(
                name=str(name),
                releases=sorted(set(rows["release"]) - {""}),
                licences=sorted(set(rows["licence"]) - {""}),
                images=len(rows),
            )
            for name, rows in kept.groupby("source")
        ],
        splits=splits,
        groups={str(split): int(n) for split, n in in_split.groupby("split")["group_id"].nunique().items()},
        leaking_pairs=len(leaking_pairs(catalog)),
    )


def environment_lock() -> dict[str, str]:
    """Every installed package with its version, Python and the machine's kind first."""
    packages: dict[str, str] = {}
    for dist in distributions():
        # Of two on the path the first is imported; copies inside another package are not what others import.
        if Path(str(dist.locate_file(""))).name != "_vendor":
            packages.setdefault(dist.metadata["Name"], dist.version)
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        **{name: packages[name] for name in sorted(packages, key=str.lower)},
    }


def keep_evidence(store: TrackingStore, registered: RegisteredVersion, evidence: Evidence) -> str:
    """Put the evidence under the version's run, point the version at it, and give its hash.

    Evidence that is there already is not sent again. Raises ExternalServiceError or EnvironmentProblem where the
    store fails.
    """
    with tempfile.TemporaryDirectory() as scratch:
        files = _files_of(evidence, Path(scratch))
    if evidence.evaluations is not None:
        test_set = evidence.evaluations.test.test_set
        with store_errors(store.tracking_uri):
            store.client.set_model_version_tag(registered.name, registered.version, TEST_SET_TAG, test_set)
    return EVIDENCE.keep(store, registered, files)


def take_evidence(store: TrackingStore, version: ModelVersion, cache: Path) -> Evidence:
    """The evidence of a version, verified; empty where none was kept. cache: folder that keeps what was fetched.

    Raises ModelGateError where the files are not those that were kept, ExternalServiceError or EnvironmentProblem
    where the store fails.
    """
    sealed = EVIDENCE.take(store, version, cache)
    return Evidence() if sealed is None else _evidence_of(sealed)


def _nameless(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows without file names, and with the identity group standing in for a known patient."""
    patient = frame["group_id"].where(frame["patient"] != "", "")
    return frame.assign(patient=patient, **{name: "" for name in _NAMING if name in frame})


def _files_of(evidence: Evidence, scratch: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for name, table in ((PREDICTIONS, evidence.predictions), (CATALOG, evidence.catalog)):
        if table is not None:
            table.save(scratch / name)
            files[name] = (scratch / name).read_bytes()
    for name, result in (
        (EVALUATIONS, evidence.evaluations),
        (AUDIT, evidence.audit),
        (EXPLANATION, evidence.explanation),
        (LINEAGE, evidence.lineage),
    ):
        if result is not None:
            files[name] = canonical_json(result.model_dump(mode="json"))
    if evidence.recipe is not None:
        files[RECIPE] = recipe_yaml(evidence.recipe).encode()
    if evidence.environment is not None:
        files[ENVIRONMENT] = canonical_json(evidence.environment)
    return files


def recipe_yaml(recipe: Mapping[str, JsonValue]) -> str:
    """A recipe as YAML; the same recipe always gives the same text."""
    return yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True)


def _evidence_of(sealed: SealedFolder) -> Evidence:
    held, folder = sealed.entries, sealed.folder
    try:
        return Evidence(
            predictions=Predictions.load(folder / PREDICTIONS) if PREDICTIONS in held else None,
            catalog=Catalog.load(folder / CATALOG) if CATALOG in held else None,
            evaluations=Evaluations.model_validate_json(sealed.read(EVALUATIONS)) if EVALUATIONS in held else None,
            audit=AuditReport.model_validate_json(sealed.read(AUDIT)) if AUDIT in held else None,
            explanation=Explanation.model_validate_json(sealed.read(EXPLANATION)) if EXPLANATION in held else None,
            lineage=DataLineage.model_validate_json(sealed.read(LINEAGE)) if LINEAGE in held else None,
            recipe=yaml.safe_load(sealed.read(RECIPE)) if RECIPE in held else None,
            environment=json.loads(sealed.read(ENVIRONMENT)) if ENVIRONMENT in held else None,
        )
    except (ValidationError, ValueError) as error:
        raise ModelGateError(
            f"The evidence in {folder} cannot be read: {str(error).splitlines()[0]}.",
            why="It is as it was written, but this program does not understand it.",
            cure="Use the program version that registered the model, or train and register again.",
        ) from error
