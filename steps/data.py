"""The front of the training pipeline: from raw datasets to a validated, split catalog over an image store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from zenml import get_step_context, step

from data_contracts.catalog import Catalog
from data_contracts.expectations.report import ValidationReport
from data_contracts.expectations.settings import ValidationSettings
from data_contracts.identity import IdentitySettings, assign_groups
from data_contracts.image_store import ImageStore, ImageStoreSettings, build_image_store
from data_contracts.known_overlaps import overlap_statements
from data_contracts.labels import assign_labels
from data_contracts.leakage import require_no_leak
from data_contracts.ontology import task_named
from data_contracts.overlay import Decision, apply_decisions, explain_exclusions
from data_contracts.sources import merge
from data_contracts.sources.label_revisions import check_pinned_tables
from data_contracts.splits import SplitSettings, assign_splits
from data_contracts.workspace import Workspace
from steps.caching import cached_on, reading_versions
from steps.gate import stop_unless_passed
from steps.materializers import FolderMaterializer, TableMaterializer
from steps.progress import progress, say


@step(
    output_materializers={"offered": TableMaterializer},
    cache_policy=cached_on("data_contracts.sources", versions=reading_versions),
)
def ingest(
    sources: list[str], data_dir: str, data_fingerprint: str, pinned_tables: dict[str, str]
) -> tuple[Annotated[Catalog, "offered"], Annotated[list[str], "ingest_notes"]]:
    """List every image of the sources. data_fingerprint makes a change on disk a change of the step."""
    check_pinned_tables(pinned_tables, Path(data_dir), Workspace.current().cache / "label-tables")
    catalog, notes = merge(sources, Path(data_dir))
    say(f"{len(catalog.frame):,} images offered by {', '.join(sources)}")
    return catalog, notes


@step(
    output_materializers=FolderMaterializer,
    cache_policy=cached_on("data_contracts.image_store", versions=reading_versions),
)
def store_images(
    offered: Catalog, data_dir: str, data_fingerprint: str, settings: dict[str, Any]
) -> Annotated[ImageStore, "image_store"]:
    """Decode every image once into the uint8 store. data_fingerprint makes changed pixels a change of the step."""
    with progress("decode") as report:
        store = build_image_store(
            offered, Path(data_dir), ImageStoreSettings(**settings), Workspace.current().stores, report
        )
    counts = store.catalog.counts()
    say(
        "{offered:,} offered = {kept:,} kept + {quarantined:,} quarantined + {duplicate:,} duplicate".format(
            **counts
        )
    )
    return store


@step(
    output_materializers=TableMaterializer,
    cache_policy=cached_on("data_contracts.identity", "data_contracts.known_overlaps"),
)
def identify(image_store: ImageStore, settings: dict[str, Any]) -> Annotated[Catalog, "identified"]:
    """Find which images show the same picture or the same patient."""
    identified = assign_groups(image_store.catalog, image_store.images, IdentitySettings(**settings))
    for statement in overlap_statements(identified):
        say(statement)
    return identified


@step(
    output_materializers=TableMaterializer,
    cache_policy=cached_on("data_contracts.labels", "data_contracts.overlay"),
)
def label(
    identified: Catalog, task: str, decisions: Sequence[dict[str, Any]] = ()
) -> Annotated[Catalog, "labelled"]:
    """Give each image its class in the recipe's task.

    decisions: what a person decided about labels, as JSON of `Decision`; as a parameter its content, not the name of
    a file, makes a change a change of the step.
    """
    decided = apply_decisions(identified, [Decision(**decision) for decision in decisions])
    contested = decided.frame.loc[decided.frame["label_conflict"], "image_id"].nunique()
    if contested:
        say(
            f"{contested:,} images are not used because copies of them carry other labels; `lungline data build` "
            "lists them in conflicts.csv"
        )
    return explain_exclusions(assign_labels(decided, task_named(task)))


@step(cache_policy=cached_on("data_contracts.expectations.runner"))
def validate(catalog: Catalog, suite: str, recipe: dict[str, Any]) -> Annotated[ValidationReport, "validation"]:
    """Hold the catalog against its data contract; a critical failure stops the run here.

    recipe: the sections that a data report needs: name, title, task, split, validation.
    """
    from data_contracts.expectations.runner import validate_catalog

    task, split_settings = task_named(recipe["task"]), SplitSettings(**recipe["split"])
    report = validate_catalog(
        catalog,
        suite=suite,
        classes=task.class_names,
        settings=ValidationSettings(**recipe["validation"]),
        multi_label=task.multi_label,
        external_sources=sorted(split_settings.external_sources),
        official_split=split_settings.official,
    )
    stop_unless_passed(report, catalog, recipe, get_step_context().pipeline_run.name)
    return report


@step(output_materializers=TableMaterializer, cache_policy=cached_on("data_contracts.splits"))
def split(
    labelled: Catalog, validation: ValidationReport, settings: dict[str, Any]
) -> Annotated[Catalog, "split_catalog"]:
    """Share whole identity groups out to train, validation and test. Taking the report makes it wait for the gate."""
    catalog = assign_splits(labelled, SplitSettings(**settings))
    require_no_leak(catalog)
    return catalog
