"""The gates of a review: what a challenger must show, each with an outcome and the number that decided it.

Shown to be worse rejects; not shown to be good enough holds for a person. Absent evidence is never a pass.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.evaluation.comparison import NonInferiority
from models.evaluation.results import Evaluation
from models.registry.evidence import DataLineage, Evidence
from models.reports.formatting import counted, metric_title
from models.review.results import ChangeReport, Comparison, Gate, Outcome
from models.review.settings import ReviewSettings

_OUTCOME: dict[str, Outcome] = {
    "superior": "pass",
    "non-inferior": "pass",
    "inferior": "reject",
    "inconclusive": "hold",
    "cannot be judged": "hold",
}
_LISTED = 3


def champion_gate(no_champion: str) -> Gate:
    """Whether there is a model in use to compare with."""
    why = f"Nothing to compare with: {no_champion}." if no_champion else "The champion was loaded and verified."
    return Gate(name="champion", title="A champion to compare with", outcome=_held(no_champion), why=why)


def same_test_set_gate(problem: str, n: int) -> Gate:
    """Whether both models were measured on the same locked images."""
    why = problem or f"Both models were measured on the same {n:,} locked test images with the same truths."
    return Gate(name="test_set", title="The same locked test set", outcome=_held(problem), why=why)


def evidence_gate(evidence: Evidence) -> Gate:
    """Whether everything was kept that a review reads."""
    missing = evidence.missing
    why = f"Missing evidence: {', '.join(missing)}." if missing else "Everything that a review reads was kept."
    return Gate(name="evidence", title="Evidence is complete", outcome=_held(missing), why=why)


def positives_gate(evaluation: Evaluation | None, settings: ReviewSettings) -> Gate:
    """Whether every class has enough test images to claim anything of it."""
    title, least = "Enough test images", settings.minimum_positives
    if evaluation is None:
        return Gate(name="positives", title=title, outcome="hold", why="No evaluation on test was kept.")
    few = [f"{one.title} ({one.n_positive:,})" for one in evaluation.classes if one.n_positive < least]
    why = f"Every class has at least {least:,} positive test images."
    if few:
        why = f"Too few positive test images, {least:,} are asked for: {', '.join(few)}."
    return Gate(name="positives", title=title, outcome=_held(few), why=why)


def primary_gate(comparison: Comparison) -> Gate:
    """Non-inferior on the primary metric."""
    one = comparison.primary
    why = f"Difference of the {metric_title(one.measure)}: {_said(one.judged)}."
    return Gate(name="primary", title="Not worse overall", outcome=_OUTCOME[one.judged.verdict], why=why)


def sensitivity_gate(comparison: Comparison) -> Gate:
    """Non-inferior in the sensitivity of every class at the frozen operating points."""
    pairs = [(one.title, one.sensitivity.judged) for one in comparison.classes]
    return _gate("sensitivity", "Finds every class as often", pairs, "sensitivity")


def class_auc_gate(comparison: Comparison) -> Gate:
    """No class shown to be told from the rest less well: secondary, so a loss is a question and not a refusal."""
    asked: dict[str, str] = {"inferior": "is shown to be worse", "cannot be judged": "cannot be judged"}
    problems = []
    for verdict, said in asked.items():
        found = [one for one in comparison.classes if one.auc.judged.verdict == verdict]
        if found:
            listed = "; ".join(f"{one.title} {_said(one.auc.judged)}" for one in found)
            problems.append(f"ROC AUC {said}: {listed}.")
    why = " ".join(problems) or "No class has a ROC AUC shown to be worse."
    return Gate(name="class_auc", title="No class told apart less well", outcome=_held(problems), why=why)


def subgroup_gate(comparison: Comparison, settings: ReviewSettings) -> Gate:
    """Non-inferior in every subgroup that is large enough."""
    title, least = "Not worse in any subgroup", settings.minimum_subgroup_positives
    judged = [(f"{s.title}, {s.by.lower()} {s.group}", s.judged) for s in comparison.subgroups if s.judged]
    if not judged:
        why = f"No subgroup holds {least:,} positive test images, so none could be judged."
        return Gate(name="subgroups", title=title, outcome="hold", why=why)
    return _gate("subgroups", title, judged, "sensitivity")


def subgroup_gap_gate(evaluation: Evaluation | None) -> Gate:
    """No subgroup of the challenger's own far below its other images."""
    name, title = "subgroup_gap", "No subgroup left far behind"
    tables = evaluation.subgroups if evaluation else []
    worst = [(table, one) for table in tables for one in table.classes if one.worst is not None]
    if not worst:
        why = "The sensitivity of no two subgroups could be measured."
        return Gate(name=name, title=title, outcome="hold", why=why)
    wide = [
        f"{one.title}, {table.title.lower()} {one.worst.group}: {one.worst.gap.value:.2f} below"
        + (", no interval" if one.worst.gap.low is None else "")
        for table, one in worst
        if one.worst is not None and one.worst.too_wide and one.worst.gap.value is not None
    ]
    why = f"Sensitivity lags in {_listed(wide, '; ')}." if wide else "No subgroup's sensitivity is shown to lag."
    return Gate(name=name, title=title, outcome=_held(wide), why=why)


def shortcut_gate(evidence: Evidence, settings: ReviewSettings) -> Gate:
    """What the shortcut audit found: a network that reads a shortcut is refused, data that offer one are looked at."""
    name, title, audit = "shortcuts", "Reads disease, not the source", evidence.audit
    if audit is None:
        return Gate(name=name, title=title, outcome="hold", why="No shortcut audit was kept with this version.")
    evaluated = {item.name: item for item in audit.items if item.verdict != "not evaluated"}
    unmade = [one for one in settings.required_audit if one not in evaluated]
    failed = [item for item in evaluated.values() if item.verdict == "fail"]
    by_model = [item.title for item in failed if item.about == "model"]
    by_data = [item.title for item in failed if item.about == "data"]
    if by_model:
        why = f"The network itself fails the shortcut audit: {', '.join(by_model)}."
        return Gate(name=name, title=title, outcome="reject", why=why)
    problems = [f"the data offer a shortcut ({', '.join(by_data)})"] if by_data else []
    problems += [f"required tests could not be made ({', '.join(unmade)})"] if unmade else []
    if problems:
        why = f"A person has to judge: {' and '.join(problems)}."
        return Gate(name=name, title=title, outcome="hold", why=why)
    warned = [item.title for item in evaluated.values() if item.verdict == "warn"]
    also = f" Warnings: {', '.join(warned)}." if warned else ""
    return Gate(name=name, title=title, outcome="pass", why=f"No test of the shortcut audit fails.{also}")


def calibration_gate(evaluation: Evaluation | None, settings: ReviewSettings) -> Gate:
    """Probabilities that mean what they say."""
    name, title, limit = "calibration", "Probabilities can be believed", settings.largest_calibration_error
    answers = evaluation.calibration.answers if evaluation and evaluation.calibration else None
    error = answers.ece_debiased if answers else None
    if answers is None or error is None:
        return Gate(name=name, title=title, outcome="hold", why="Calibration on test was not measured.")
    why = f"Expected calibration error {max(error, 0):.3f} on {answers.n:,} answers; at most {limit:g} is allowed."
    return Gate(name=name, title=title, outcome="pass" if error <= limit else "hold", why=why)


def leakage_gate(lineage: DataLineage | None) -> Gate:
    """No patient and no picture in two splits."""
    name, title = "leakage", "Test images were never learnt from"
    if lineage is None:
        return Gate(name=name, title=title, outcome="hold", why="The data's lineage was not kept.")
    leaking = lineage.leaking_pairs
    why = "No picture, patient or identity group lies in two splits."
    if leaking:
        why = f"{leaking:,} pairs of images in two splits share a picture, a patient or an identity group."
    return Gate(name=name, title=title, outcome="reject" if leaking else "pass", why=why)


def wear_gate(evaluation: Evaluation | None, settings: ReviewSettings) -> Gate:
    """A test set that was not read too often."""
    name, title, limit = "wear", "The test set is not worn out", settings.largest_test_readings
    readings = evaluation.readings if evaluation else None
    if readings is None:
        return Gate(name=name, title=title, outcome="hold", why="Readings of this test set were not counted.")
    times = "once" if readings == 1 else f"{readings:,} times"
    why = f"The test set had been read {times}; at most {limit:,} readings are allowed."
    return Gate(name=name, title=title, outcome="pass" if readings <= limit else "hold", why=why)


def change_gate(changes: ChangeReport | None) -> Gate:
    """Nothing changed that the plan does not foresee."""
    name, title = "change_plan", "Changed only what was planned"
    if changes is None:
        why = "Without both recipes nobody can say what changed."
        return Gate(name=name, title=title, outcome="hold", why=why)
    outside = [change.key for change in changes.outside]
    why = f"{counted(len(changes.changes), 'difference')} from the champion's settings, inside the change plan."
    if outside:
        why = f"Outside the change plan: {_listed(outside)}."
    elif not changes.changes:
        why = "No setting differs from the champion's."
    return Gate(name=name, title=title, outcome=_held(outside), why=why)


def _gate(name: str, title: str, judged: Sequence[tuple[str, NonInferiority]], measure: str) -> Gate:
    """The gravest outcome of several comparisons, with those that are behind it."""
    outcomes = [_OUTCOME[one.verdict] for _, one in judged]
    for outcome, said in (("reject", "shown to be worse"), ("hold", "not shown to be as good")):
        behind = [f"{what} {_said(one)}" for (what, one), o in zip(judged, outcomes, strict=True) if o == outcome]
        if behind:
            why = f"{measure.capitalize()} is {said} in {len(behind)} of {len(judged)}: {_listed(behind, '; ')}."
            return Gate(name=name, title=title, outcome="reject" if outcome == "reject" else "hold", why=why)
    why = f"{measure.capitalize()} is not worse in any of {len(judged)}."
    return Gate(name=name, title=title, outcome="pass", why=why)


def _said(judged: NonInferiority) -> str:
    difference = judged.difference
    if difference.value is None:
        return f"cannot be compared, {difference.undefined}"
    number = _signed(difference.value)
    if difference.low is None or difference.high is None:
        return f"{number}, {difference.method or 'no interval'}"
    number += f" ({_signed(difference.low)} to {_signed(difference.high)})"
    return f"{number} where {judged.margin:g} less is allowed"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _listed(items: Sequence[str], between: str = ", ") -> str:
    more = f"{between}and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return between.join(items[:_LISTED]) + more


def _held(problem: object) -> Outcome:
    return "hold" if problem else "pass"
