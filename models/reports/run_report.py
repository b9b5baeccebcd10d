"""The content of a run's pages, and the page that says which architecture won and whether to trust it."""

from __future__ import annotations

import re
from typing import Self

from pydantic import BaseModel, ConfigDict, JsonValue, model_validator

from data_contracts.ontology import split_classes
from models.audit.results import AuditReport
from models.evaluation.leave_one_source_out import LeaveOneSourceOut
from models.evaluation.results import Evaluation, Evaluations, OperatingPoint
from models.evaluation.selection import Selection
from models.explanation.results import CamSheet, Explanation
from models.reports import audit_table, figures, page, verdict
from models.reports.answers import answers, trust
from models.reports.data_report import DataOrigin
from models.reports.data_section import DataSection
from models.reports.external_section import external_section
from models.training.history import TrainingHistory
from models.training.search.results import SearchResult

PICTURES_SHOWN = 4  # of the winner; its own page has all


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ArchitectureSection(_Content):
    """One trained architecture with its evaluation on test and, where a source was held out, on that source.

    operating_points: class name -> the threshold chosen on validation. validation: None where nobody kept it. options:
    what the architecture was built with. initial_weights: as in the bundle. audit: None where none was made.
    """

    name: str
    parameters: int
    history: TrainingHistory
    evaluation: Evaluation
    external: Evaluation | None = None
    validation: Evaluation | None = None
    operating_points: dict[str, OperatingPoint]
    options: dict[str, JsonValue] = {}
    initial_weights: dict[str, JsonValue] = {}
    bundle_hash: str = ""
    audit: AuditReport | None = None
    cam_sheet: CamSheet | None = None

    @property
    def file(self) -> str:
        """The name of its own page."""
        return f"architecture-{re.sub(r'[^A-Za-z0-9.-]+', '_', self.name)}.html"

    @property
    def explanation(self) -> Explanation | None:
        """Its Grad-CAM sheet, where the sheet says what its maps are worth."""
        return self.cam_sheet if isinstance(self.cam_sheet, Explanation) else None


class Reproduction(_Content):
    """What is needed to get the same numbers again; the registered_ fields are None where nothing was."""

    commands: list[str]
    data_hash: str
    bundle_hash: str
    seed: int
    versions: dict[str, str]
    registered_name: str | None = None
    registered_version: str | None = None
    registered_alias: str | None = None
    mlflow_run_id: str | None = None


class RunReport(_Content):
    """The whole content of a run's pages. class_titles: class name -> title, in output order.

    baselines: what every network has to be compared with, under the names of models.evaluation.baselines. searches:
    for the architectures whose hyper-parameters were searched.
    leave_one_source_out: where runs that held out one source each were put together. It holds no time of day, so
    that the same run writes the same bytes, and no patient identifier.
    """

    title: str
    recipe_name: str
    recipe_yaml: str
    task_title: str
    class_titles: dict[str, str]
    selection: Selection
    architectures: list[ArchitectureSection]
    baselines: list[Evaluations] = []
    searches: list[SearchResult] = []
    leave_one_source_out: LeaveOneSourceOut | None = None
    data: DataSection
    origin: DataOrigin | None = None
    reproduction: Reproduction

    @model_validator(mode="after")
    def _ranking_names_the_architectures(self) -> Self:
        names = [section.name for section in self.architectures]
        if sorted(names) != sorted(self.selection.ranking):
            raise ValueError("the ranking must name every architecture of the report once")
        if self.selection.winner not in names:
            raise ValueError("the winner must be one of the architectures of the report")
        return self

    def title_of(self, label: str) -> str:
        """A label in words: the title of its class or, in a multi-label task, of every class it names."""
        return (
            ", ".join(self.class_titles.get(name, name) for name in split_classes(label)) or "none of the classes"
        )

    @property
    def ranked(self) -> list[ArchitectureSection]:
        """The architectures, best first."""
        return sorted(self.architectures, key=lambda section: self.selection.ranking.index(section.name))

    @property
    def winner(self) -> ArchitectureSection:
        return next(section for section in self.architectures if section.name == self.selection.winner)


def render_run_report(content: RunReport) -> str:
    """The page as one self-contained HTML document; equal content gives equal bytes."""
    ranked, winner = content.ranked, content.winner
    evaluations = [section.evaluation for section in ranked]
    beside = [one.test for one in content.baselines]
    found = answers(winner, content)
    return page.render(
        "run_report.html.j2",
        report=content,
        winner=winner,
        ranked=ranked,
        trust=trust(winner.name, found),
        answers=found,
        registered=verdict.registered(content.reproduction),
        why=verdict.why(content.selection),
        notes=winner.evaluation.notes,
        axis=figures.leaderboard_axis([*evaluations, *beside]),
        dots=figures.leaderboard_dots([*evaluations, *beside], content.selection.winner),
        baselines=beside,
        roc=figures.roc_panels(evaluations, content.selection.winner),
        elsewhere=external_section(ranked),
        audited=audit_table.audit_matrix(ranked),
        explained=[(section, section.explanation) for section in ranked if section.explanation],
        pictures=_pictures(winner),
        bars=figures.composition_bars(content.data),
    )


def _pictures(winner: ArchitectureSection) -> CamSheet | None:
    """The first picture of each class, for a glance."""
    sheet = winner.cam_sheet
    if sheet is None or not sheet.items:
        return None
    first = {item.truth: item for item in reversed(sheet.items)}
    chosen = [item for item in sheet.items if first[item.truth] is item]
    return sheet.model_copy(update={"items": chosen[:PICTURES_SHOWN]})
