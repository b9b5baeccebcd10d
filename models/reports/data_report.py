"""The data report: one page that says whether data may be used, what they hold and what was set aside."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from models.reports import figures, page, verdict
from models.reports.data_pictures import DataPictures, data_pictures
from models.reports.data_section import DataSection
from models.reports.data_tables import (
    AssociationTable,
    FlagRow,
    PopulationRow,
    SourceRow,
    association_table,
    flag_rows,
    population_rows,
    source_rows,
)
from models.reports.descriptor_figures import Histogram, descriptor_histograms, ridges
from models.reports.row_names import RowNames
from models.reports.thumbnails import Thumbnails

if TYPE_CHECKING:
    from data_contracts.catalog import Catalog
    from data_contracts.image_store import ImageStore
    from data_contracts.splits import SplitSettings


class DataOrigin(BaseModel):
    """Where the images come from and whom they show.

    statements: what the split rests on and which known overlaps were found, in sentences.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: list[SourceRow]
    population: list[PopulationRow]
    flags: list[FlagRow]
    statements: list[str]


class DataDetail(DataOrigin):
    """What the data report shows beyond the data section of a run report. association: None before the split."""

    histograms: list[Histogram]
    pictures: DataPictures
    association: AssociationTable | None


class DataReport(BaseModel):
    """The whole content of a data report.

    catalog_hash: content hash of the catalog it describes. recipe_name and task_title are "" where unknown. detail:
    None leaves those sections out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    recipe_name: str = ""
    task_title: str = ""
    catalog_hash: str
    data: DataSection
    detail: DataDetail | None = None


def data_detail(
    catalog: Catalog,
    *,
    class_titles: Mapping[str, str],
    split: SplitSettings,
    store: ImageStore | None,
    data_dir: Path | None,
) -> DataDetail:
    """The detail of a catalog that went through identity and labelling, before or after its split.

    store: where kept pictures are taken from; data_dir: where quarantined files are. Without them the page has names
    in the place of pictures.
    """
    kept = catalog.kept
    origin = data_origin(catalog, class_titles=class_titles, split=split)
    return DataDetail(
        **dict(origin),
        histograms=descriptor_histograms(kept),
        pictures=data_pictures(catalog, Thumbnails(catalog, store, data_dir), RowNames(catalog.frame)),
        association=association_table(catalog.frame, class_titles),
    )


def data_origin(catalog: Catalog, *, class_titles: Mapping[str, str], split: SplitSettings) -> DataOrigin:
    """The origin of a catalog that went through identity and labelling, before or after its split."""
    from data_contracts.expectations.rows import one_per_label
    from data_contracts.known_overlaps import overlap_statements
    from data_contracts.splits import split_statements

    kept = catalog.kept
    of_split = split_statements(catalog, split) if (kept["split"] != "").any() else []
    return DataOrigin(
        sources=source_rows(catalog, split.external_sources),
        population=population_rows(one_per_label(kept[kept["label"] != ""]), class_titles),
        flags=flag_rows(kept),
        statements=[*of_split, *overlap_statements(catalog)],
    )


def render_data_report(content: DataReport) -> str:
    """The page as one self-contained HTML document; equal content gives equal bytes."""
    checks = content.data.validation.checks if content.data.validation else []
    failed = [check for check in checks if not check.passed]
    return page.render(
        "data_report.html.j2",
        report=content,
        stopped=any(check.severity == "critical" for check in failed),
        failed=sorted(failed, key=lambda check: check.severity != "critical"),
        verdict=verdict.data_sentences(content.data),
        bars=figures.composition_bars(content.data),
        detail=content.detail,
        ridges=[(histogram, ridges(histogram)) for histogram in content.detail.histograms]
        if content.detail
        else [],
    )
