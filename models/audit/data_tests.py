"""The tests that ask the images, not the network: could a class be told without looking at a lung?"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_contracts.association import class_source_association
from data_contracts.catalog import Catalog
from data_contracts.ontology import Task
from data_contracts.targets import targets
from models.audit import probes
from models.audit.areas import Areas, compare_areas
from models.audit.items import MODEL, item, unevaluated, without_disease
from models.audit.results import LIMITS, AuditItem
from models.audit.sample import Sample
from models.audit.settings import AuditSettings
from models.audit.verdicts import judge
from models.evaluation.probe import Features
from models.evaluation.results import Estimate

_COUNTED = "no interval: counted over all images that are learned from or measured on"


def ask_the_data(
    images: NDArray[np.uint8], catalog: Catalog, sample: Sample, task: Task, settings: AuditSettings
) -> list[AuditItem]:
    """association, metadata_only, border_only and centre_black."""
    training = _training_rows(catalog, settings)
    if training.empty:
        nothing = ("metadata_only", "border_only", "centre_black")
        return [association(catalog), *(unevaluated(name, "no training image to learn from") for name in nothing)]
    truth = targets(training, task)
    groups = training["group_id"].to_numpy(np.str_)

    def told_from(features: Features, asked: Features) -> Areas:
        scores = probes.learned_from_training(features, truth, groups, asked, seed=settings.seed)
        return compare_areas(sample.truth, scores, sample.probabilities, sample.groups, settings)

    rows = training["row"].to_numpy(np.int64)
    of_metadata = told_from(probes.metadata(training, training), probes.metadata(sample.frame, training))
    of_border = told_from(probes.border(images, rows), probes.border(images, sample.rows))
    of_rest = told_from(probes.around_centre(images, rows), probes.around_centre(images, sample.rows))
    return [
        association(catalog),
        item(
            "metadata_only",
            of_metadata.auc,
            judge(of_metadata.auc, LIMITS["metadata_only"]),
            {MODEL: of_metadata.model},
        ),
        without_disease("border_only", of_border),
        without_disease("centre_black", of_rest),
    ]


def association(catalog: Catalog) -> AuditItem:
    """Class and source; "not evaluated" where there is one source, for then nobody knows how others look."""
    found = class_source_association(catalog.frame)
    if found.cramers_v is None:
        return unevaluated("association", found.undefined, found.images)
    alone = found.single_source_classes
    reason = f"Cramér's V is {found.cramers_v:.2f}; 0 is no association, 1 means that the source tells the class."
    if alone:
        reason += f" All images of one source: {', '.join(alone)}."
    return item(
        "association",
        Estimate(value=found.cramers_v, n=found.images, method=_COUNTED),
        (found.verdict, reason),
    )


def _training_rows(catalog: Catalog, settings: AuditSettings) -> pd.DataFrame:
    kept = catalog.kept
    rows = kept[kept["split"] == "train"]
    if len(rows) <= settings.training_images:
        return rows
    chosen = np.random.default_rng(settings.seed).choice(len(rows), settings.training_images, replace=False)
    return rows.iloc[np.sort(chosen)]
