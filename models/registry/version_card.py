"""The description of a registered version: what a reviewer reads in the MLflow registry, as markdown."""

from __future__ import annotations

from collections.abc import Sequence

from models.evaluation.results import ClassEvaluation, Estimate, Evaluation
from models.registry.bundle import BundleSpec
from models.registry.versions import DESCRIPTION_CHARACTERS

_LEFT_OUT = "- further notes are in the run report"


def version_description(evaluation: Evaluation, spec: BundleSpec, notes: Sequence[str]) -> str:
    """Key numbers with their n and interval, provenance, how to reproduce.

    At most DESCRIPTION_CHARACTERS long: notes beyond that are left out, and it says so.
    """
    page = "\n".join([*_results(evaluation), "", *_provenance(spec)])
    lines = [f"- {_plain(note)}" for note in [*notes, *evaluation.notes]]
    if not lines:
        return page
    room = DESCRIPTION_CHARACTERS - len(page) - len(_LEFT_OUT) - len("\n\nNotes\n\n\n")
    shown: list[str] = []
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            shown.append(_LEFT_OUT)
            break
        shown.append(line)
    return "\n".join([page, "", "Notes", "", *shown])


def _results(evaluation: Evaluation) -> list[str]:
    return [
        f"**{_plain(evaluation.architecture)}** on the {evaluation.split} split: {evaluation.n} images in "
        f"{evaluation.n_groups} identity groups; {evaluation.without_patient_id} images have no patient id. "
        "Brackets are 95 % intervals.",
        "",
        f"Macro AUC {_number(evaluation.macro_auc)}; balanced accuracy {_number(evaluation.balanced_accuracy)}.",
        "",
        "| class | n | sensitivity | specificity | ROC AUC | |",
        "|---|---|---|---|---|---|",
        *(_row(one) for one in evaluation.classes),
        "",
        "**Research software, not a medical device.**",
    ]


def _row(one: ClassEvaluation) -> str:
    cells = [
        _plain(one.title),
        f"{one.n_positive}",
        _number(one.sensitivity),
        _number(one.specificity),
        _number(one.roc_auc),
        "" if one.judgement == "enough" else one.judgement,
    ]
    return "| " + " | ".join(cells) + " |"


def _number(estimate: Estimate) -> str:
    if estimate.value is None:
        return f"undefined ({_plain(estimate.undefined)})"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _provenance(spec: BundleSpec) -> list[str]:
    return [
        f"- task: {_plain(spec.task)}",
        f"- recipe: `{spec.recipe_name}`, seed {spec.seed}",
        f"- input: {spec.image_size} × {spec.image_size} pixels, preprocessing `{spec.preprocessing.mode}`",
        f"- data: `{spec.data_hash}`",
        f"- reproduce on the same data: `lungline train {spec.recipe_name}`",
    ]


def _plain(text: str) -> str:
    """Text that cannot break out of a table cell or a line."""
    return " ".join(text.split()).replace("|", "\\|")
