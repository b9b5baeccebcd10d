"""The run report: one page that says which architecture won, how sure that is, and what it learnt from."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator

from data_contracts.ontology import split_classes
from models.evaluation.results import SEVERAL_AT_ONCE, Evaluation, OperatingPoint
from models.evaluation.selection import Selection
from models.explanation.results import CamSheet
from models.reports import figures, page, verdict
from models.reports.data_section import DataSection
from models.reports.external_section import external_section
from models.training.history import TrainingHistory


class _Content(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ArchitectureSection(_Content):
    """One trained architecture with its evaluation on test and, where a source was held out, on that source.

    operating_points: class name -> the threshold chosen on validation.
    """

    name: str
    parameters: int
    history: TrainingHistory
    evaluation: Evaluation
    external: Evaluation | None = None
    operating_points: dict[str, OperatingPoint]
    cam_sheet: CamSheet | None = None


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
    """The whole content of a run report. class_titles: class name -> title, in output order.

    It holds no time of day, so that the same run writes the same bytes, and no patient identifier.
    """

    title: str
    recipe_name: str
    recipe_yaml: str
    task_title: str
    class_titles: dict[str, str]
    selection: Selection
    architectures: list[ArchitectureSection]
    data: DataSection
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
    ranked = content.ranked
    evaluations = [section.evaluation for section in ranked]
    notes, other_notes = verdict.notes(ranked, content.selection.winner)
    return page.render(
        "run_report.html.j2",
        report=content,
        winner=content.winner,
        ranked=ranked,
        verdict=verdict.run_sentences(content),
        why=verdict.why(content.selection),
        notes=notes,
        other_notes=other_notes,
        axis=figures.leaderboard_axis(evaluations),
        dots=figures.leaderboard_dots(evaluations, content.selection.winner),
        learning=figures.learning_curves({section.name: section.history for section in ranked}),
        roc=figures.roc_panels(evaluations, content.selection.winner),
        confusion=figures.confusion_panels(evaluations, content.class_titles, content.selection.winner),
        elsewhere=external_section(ranked),
        several_at_once=SEVERAL_AT_ONCE,
        bars=figures.composition_bars(content.data),
    )
