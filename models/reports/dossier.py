"""The pages of a promotion dossier: one that a committee reads in five minutes, and those it links to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from data_contracts.ontology import split_classes
from models.audit.results import AuditReport
from models.evaluation.comparison import Difference, NonInferiority
from models.evaluation.results import Estimate, Evaluation
from models.explanation.results import Explanation
from models.reports import page
from models.reports.dossier_figures import axis_row, difference_axis, difference_row
from models.reports.formatting import capitalised, counted, listed, metric_title
from models.review.checklists import AnsweredChecklist
from models.review.results import Compared, Gate, Review

MARK = {"pass": "good", "hold": "caution", "reject": "bad"}
WORD = {"pass": "passed", "hold": "needs a person", "reject": "failed"}
JUDGED = {
    "superior": ("good", "better"),
    "non-inferior": ("good", "not worse"),
    "inconclusive": ("caution", "not shown"),
    "inferior": ("bad", "worse"),
    "cannot be judged": ("caution", "cannot be judged"),
}


@dataclass(frozen=True, slots=True)
class LinkedFile:
    """One file of the dossier with what it is for."""

    name: str
    holds: str


@dataclass(frozen=True, slots=True)
class ComparedRow:
    """One line of a comparison: numbers of both models, their difference as text and drawn, and what follows."""

    title: str
    measure: str
    challenger: Estimate | None
    champion: Estimate | None
    n: int
    difference: str
    allowed: str
    drawn: Markup
    mark: str
    word: str
    p: str


@dataclass(frozen=True, slots=True)
class Dossier:
    """What the pages show; no time of day and no patient.

    class_titles: class name -> title, in output order. test: the challenger's evaluation, or None where none was kept.
    """

    review: Review
    class_titles: dict[str, str]
    test: Evaluation | None
    audit: AuditReport | None
    explanation: Explanation | None
    checklists: list[AnsweredChecklist]
    files: list[LinkedFile]


def index_page(dossier: Dossier) -> str:
    """The one page: verdict and reasons, gates, key numbers, what changed, data, how to decide."""
    review = dossier.review
    return page.render(
        "dossier.html.j2",
        dossier=dossier,
        review=review,
        lead=lead(review),
        stands=stands(review),
        gates=review.gates,
        mark=MARK,
        word=WORD,
        rows=key_rows(review),
        axis_drawn=axis_row(_axis(review)),
        metric=capitalised(metric_title(dossier.test.primary_metric)) if dossier.test else "",
        counts=_class_counts(dossier),
        commands=commands(review),
    )


def details_page(dossier: Dossier) -> str:
    """Every comparison in every subgroup, the shortcut audit, the changed settings, the remarks."""
    review = dossier.review
    return page.render(
        "dossier_details.html.j2",
        dossier=dossier,
        review=review,
        rows=subgroup_rows(review),
        axis_drawn=axis_row(_subgroup_axis(review)),
        few=[one for one in review.comparison.subgroups if one.judged is None] if review.comparison else [],
        audit_mark={"pass": "good", "warn": "caution", "fail": "bad", "not evaluated": "caution"},
    )


def grad_cam_page(dossier: Dossier) -> str:
    """The gallery with the checks that say what its maps are worth."""
    return page.render(
        "dossier_grad_cam.html.j2", dossier=dossier, review=dossier.review, title_of=_title_of(dossier)
    )


def checklists_page(dossier: Dossier) -> str:
    """Every checklist item with the file that answers it."""
    return page.render("dossier_checklists.html.j2", dossier=dossier, review=dossier.review)


def lead(review: Review) -> str:
    """The verdict as one sentence that needs no statistics."""
    new = f"Version {review.challenger}"
    old = f"version {review.champion}, the model in use" if review.champion else "a model in use"
    open_points = sum(gate.outcome == "hold" for gate in review.gates)
    failed = sum(gate.outcome == "reject" for gate in review.gates)
    if review.verdict == "PROMOTE":
        return f"{new} may replace {old}: it passed every gate that was declared before training."
    if review.verdict == "REJECT":
        return f"{new} should not replace {old}: it failed {counted(failed, 'gate')}."
    return f"{new} should not go into use yet: {counted(open_points, 'point')} must be settled by a person."


def stands(review: Review) -> list[Gate]:
    """The gates behind the verdict, the gravest first."""
    return [g for g in review.gates if g.outcome == "reject"] + [g for g in review.gates if g.outcome == "hold"]


def key_rows(review: Review) -> list[tuple[str, list[ComparedRow]]]:
    """The primary metric, then by class ROC AUC, sensitivity and specificity."""
    if review.comparison is None:
        return []
    axis = _axis(review)
    one = review.comparison.primary
    overall = _row("All classes", one, axis, metric_title(one.measure))
    by_class = [
        (
            found.title,
            [_row(found.title, each, axis) for each in (found.auc, found.sensitivity, found.specificity)],
        )
        for found in review.comparison.classes
    ]
    return [("All classes", [overall]), *by_class]


def subgroup_rows(review: Review) -> list[tuple[str, list[ComparedRow]]]:
    """The judged subgroups by property."""
    axis = _subgroup_axis(review)
    found: dict[str, list[ComparedRow]] = {}
    for one in review.comparison.subgroups if review.comparison else []:
        if one.judged is not None:
            row = _compared_row(f"{one.group}", one.title, None, None, one.judged, axis, one.n_positive)
            found.setdefault(one.by, []).append(row)
    return list(found.items())


def commands(review: Review) -> list[str]:
    """What a person types to decide."""
    name, version = review.model_name, review.challenger
    return [
        f'lungline approve {version} --model {name} --dossier HASH --reason "WHY"',
        f'lungline reject {version} --model {name} --dossier HASH --reason "WHY"',
        f"lungline replay {version} --model {name}",
    ]


def signed(number: Difference) -> str:
    """A paired difference with three places, because margins are hundredths."""
    if number.value is None:
        return f"undefined: {number.undefined}"
    value = _three_places(number.value)
    if number.low is None or number.high is None:
        return f"{value} ({number.method or 'no interval'})"
    return f"{value} ({_three_places(number.low)} to {_three_places(number.high)})"


def _three_places(value: float) -> str:
    written = f"{value:+.3f}"
    return "0.000" if float(written) == 0 else written.replace("-", "\N{MINUS SIGN}")


def _class_counts(dossier: Dossier) -> dict[str, dict[str, int]]:
    """Images of each class in each split; in a multi-label task an image counts for each class it shows."""
    lineage = dossier.review.lineage
    return {
        split: {
            name: sum(n for label, n in labels.items() if name in split_classes(label))
            for name in dossier.class_titles
        }
        for split, labels in (lineage.splits.items() if lineage else ())
    }


def _axis(review: Review) -> tuple[float, float]:
    found = review.comparison
    if found is None:
        return difference_axis([])
    per_class = [each.judged for one in found.classes for each in (one.auc, one.sensitivity, one.specificity)]
    return difference_axis([found.primary.judged, *per_class])


def _subgroup_axis(review: Review) -> tuple[float, float]:
    found = review.comparison.subgroups if review.comparison else []
    return difference_axis([one.judged for one in found if one.judged is not None])


def _row(title: str, one: Compared, axis: tuple[float, float], measure: str = "") -> ComparedRow:
    return _compared_row(title, measure or one.measure, one.challenger, one.champion, one.judged, axis)


def _compared_row(
    title: str,
    measure: str,
    challenger: Estimate | None,
    champion: Estimate | None,
    judged: NonInferiority,
    axis: tuple[float, float],
    n: int | None = None,
) -> ComparedRow:
    observed = judged.difference
    mark, word = JUDGED[judged.verdict]
    return ComparedRow(
        title=title,
        measure=measure,
        challenger=challenger,
        champion=champion,
        n=observed.n if n is None else n,
        difference=signed(observed),
        allowed=f"\N{MINUS SIGN}{judged.margin:g}",
        drawn=difference_row(judged, axis),
        mark=mark,
        word=word,
        p=_p_value(judged.adjusted_p if judged.adjusted_p is not None else observed.p),
    )


def _p_value(p: float | None) -> str:
    if p is None:
        return ""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _title_of(dossier: Dossier) -> dict[str, str]:
    """Every label of the gallery in words."""
    shown = dossier.explanation
    labels: set[str] = set()
    if shown is not None:
        labels = {label for one in shown.items for label in (one.truth, one.predicted)}
        labels |= {one.truth for one in shown.at_operating_point}
    titles = dossier.class_titles
    return {
        label: listed([titles.get(name, name) for name in split_classes(label)]) or "none of the classes"
        for label in sorted(labels)
    }


def files_of(names: Sequence[str]) -> list[LinkedFile]:
    """What each file of a dossier is for, in the order of reading."""
    return [LinkedFile(name, holds) for name, holds in _HOLDS if name in names]


_HOLDS: tuple[tuple[str, str], ...] = (
    ("details.html", "subgroups, shortcut audit, changed settings, every remark"),
    ("grad-cam.html", "where the network looked, and how far such maps can be believed"),
    ("checklists.html", "which file answers which item of the published checklists"),
    ("review.json", "this review, for machines"),
    ("evaluations.json", "the challenger's evaluation with every interval"),
    ("champion-evaluations.json", "the champion's evaluation, as it was registered"),
    ("audit.json", "the shortcut audit"),
    ("explanation.json", "the checks of the Grad-CAM maps"),
    ("lineage.json", "sources, releases, licences, counts and splits of the data"),
    ("recipe.yaml", "the challenger's recipe, with the margins it declared"),
    ("change_plan.yaml", "what retraining was allowed to change"),
    ("environment.json", "every installed package with its version"),
    ("checklists.json", "the filled checklists, for machines"),
    ("verdict.json", "the verdict with the hash of this dossier"),
    ("manifest.json", "sha256 and size of every file; its own sha256 is the hash of this dossier"),
)
