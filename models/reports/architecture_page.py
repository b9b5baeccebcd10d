"""The page of one architecture: everything that was measured of it, in detail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from models.evaluation.results import SEVERAL_AT_ONCE, ClassEvaluation, Estimate, Evaluation, OverallCalibration
from models.reports import curve_plots, figures, page
from models.reports.answers import answers, trust
from models.reports.external_section import external_section
from models.reports.formatting import capitalised, metric_title
from models.reports.search_section import search_sections

if TYPE_CHECKING:
    from models.explanation.results import Explanation, OutcomeItem
    from models.reports.run_report import ArchitectureSection, RunReport

_SINGLE = ("macro_auc", "balanced_accuracy", "accuracy", "kappa", "mcc", "macro_f1")
_SEVERAL = ("macro_auc", "macro_f1", "micro_f1", "micro_precision", "micro_recall")


@dataclass(frozen=True, slots=True)
class MeasureRow:
    """One measure over all classes, by split in the order of the table's columns."""

    title: str
    estimates: list[Estimate]


@dataclass(frozen=True, slots=True)
class ClassPlots:
    """The curves of one class; None where nothing can be drawn."""

    evaluation: ClassEvaluation
    roc: Markup | None
    precision_recall: Markup | None
    reliability: Markup | None
    decision: Markup | None


@dataclass(frozen=True, slots=True)
class OutcomesOfClass:
    """The heat maps of one class by how the images came out at its threshold."""

    title: str
    items: list[OutcomeItem]


def render_architecture_page(section: ArchitectureSection, content: RunReport) -> str:
    """The page as one self-contained HTML document; equal content gives equal bytes."""
    tested, found = section.evaluation, answers(section, content)
    explanation = section.explanation
    return page.render(
        "architecture.html.j2",
        report=content,
        section=section,
        tested=tested,
        trust=trust(section.name, found),
        answers=found,
        splits=_splits(section),
        measures=_measures(section),
        plots=[_plots(one) for one in tested.classes],
        confusion=figures.confusion_panels([tested], content.class_titles, section.name),
        several_at_once=SEVERAL_AT_ONCE,
        calibrations=_calibrations(tested),
        reliability=curve_plots.reliability_plot(tested.calibration.answers, title="the answers of all classes")
        if tested.calibration and tested.calibration.answers.curve
        else None,
        elsewhere=external_section([section]),
        explanation=explanation,
        outcomes=_outcomes(explanation, content) if explanation else [],
        searches=search_sections([one for one in content.searches if one.architecture == section.name]),
        learning=figures.learning_curves({section.name: section.history})[0],
    )


def _splits(section: ArchitectureSection) -> list[Evaluation]:
    """The splits that were measured, validation first."""
    return [one for one in (section.validation, section.evaluation, section.external) if one is not None]


def _measures(section: ArchitectureSection) -> list[MeasureRow]:
    names = _SEVERAL if section.evaluation.multi_label else _SINGLE
    return [
        MeasureRow(capitalised(metric_title(name)), [getattr(one, name) for one in _splits(section)])
        for name in names
    ]


def _plots(one: ClassEvaluation) -> ClassPlots:
    curve = one.calibration.curve if one.calibration else []
    return ClassPlots(
        one,
        curve_plots.roc_curve_plot(one),
        curve_plots.precision_recall_plot(one),
        curve_plots.reliability_plot(one.calibration, title=one.title) if one.calibration and curve else None,
        curve_plots.decision_plot(one.net_benefit, title=one.title),
    )


def _calibrations(tested: Evaluation) -> list[tuple[str, OverallCalibration]]:
    """Over all classes, with the temperature and, where it changed something, without."""
    found = []
    if tested.calibration is not None:
        name = "As used" if tested.temperature == 1 else f"As used, logits divided by {tested.temperature:.3g}"
        found.append((name, tested.calibration))
    if tested.before_temperature is not None:
        found.append(("Before temperature scaling", tested.before_temperature))
    return found


def _outcomes(explanation: Explanation, content: RunReport) -> Sequence[OutcomesOfClass]:
    return [
        OutcomesOfClass(title, items)
        for name, title in content.class_titles.items()
        if (items := [item for item in explanation.at_operating_point if item.class_name == name])
    ]
