"""The description of a registered version: what a reviewer reads in the MLflow registry, as markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.evaluation.results import Calibration, ClassEvaluation, Estimate, Evaluation
from models.registry.bundle import BundleSpec
from models.registry.versions import DESCRIPTION_CHARACTERS

_LEFT_OUT = "- further notes are in the run report"
_NOTES = "**Notes**"
_LEFT_OUT_TABLES = "Further tables are in the run report."
_REASON_CHARACTERS = 300


def version_description(
    evaluation: Evaluation,
    spec: BundleSpec,
    notes: Sequence[str],
    *,
    external: Evaluation | None = None,
    baselines: Sequence[Evaluation] = (),
    waivers: Mapping[str, str] | None = None,
) -> str:
    """Key numbers with their n and interval, what qualifies them, provenance, how to reproduce and to use.

    evaluation: of the test split; external, baselines: of other hospitals' images, and of the baselines on the test
    split. waivers: class name -> why it may be trained on although it comes from one source only. At most
    DESCRIPTION_CHARACTERS long: tables and notes beyond that are left out, and it says so.
    """
    before = [_results(evaluation), _waivers(waivers or {})]
    tables = [_external(external), _calibration(evaluation), _baselines(baselines)]
    after = [_provenance(spec)]
    page = _page([*before, *tables, *after])
    while len(page) > DESCRIPTION_CHARACTERS and tables:
        tables.pop()
        page = _page([*before, *tables, [_LEFT_OUT_TABLES], *after])
    lines = [f"- {_plain(note)}" for note in [*notes, *evaluation.notes]]
    if not lines:
        return page
    room = DESCRIPTION_CHARACTERS - len(page) - len(_LEFT_OUT) - len(f"\n\n{_NOTES}\n\n\n")
    shown: list[str] = []
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            shown.append(_LEFT_OUT)
            break
        shown.append(line)
    return "\n".join([page, "", _NOTES, "", *shown])


def _page(sections: Sequence[Sequence[str]]) -> str:
    return "\n\n".join("\n".join(lines) for lines in sections if lines)


def _results(evaluation: Evaluation) -> list[str]:
    # The registry's list of versions shows the first words only, as plain text.
    return [
        f"Macro AUC {_number(evaluation.macro_auc)} on the {evaluation.split} split, architecture "
        f"{_plain(evaluation.architecture)}: {evaluation.n:,} images in {evaluation.n_groups:,} identity groups; "
        f"{evaluation.without_patient_id:,} images have no patient id. Brackets are 95 % intervals.",
        "",
        *_class_table(evaluation),
        "",
        "**Research software, not a medical device.**",
    ]


def _waivers(waivers: Mapping[str, str]) -> list[str]:
    if not waivers:
        return []
    return [
        "**Confounded by design:** these classes come from a single source, so that a network may tell the sources "
        "apart instead of the disease. They were let through with these reasons:",
        "",
        *(f"- {_plain(name)}: {_plain(reason)[:_REASON_CHARACTERS]}" for name, reason in sorted(waivers.items())),
    ]


def _external(external: Evaluation | None) -> list[str]:
    if external is None:
        return ["No external evaluation."]
    return [
        f"**External**, images from sources it was not trained on: {external.n:,} images in {external.n_groups:,} "
        f"identity groups; macro AUC {_number(external.macro_auc)}.",
        "",
        *_class_table(external),
    ]


def _calibration(evaluation: Evaluation) -> list[str]:
    found = evaluation.calibration
    if found is None:
        return []
    line = f"Calibration on the {evaluation.split} split: Brier score {_number(found.brier)}, {_errors(found.answers)}"
    if evaluation.before_temperature is None:
        return [f"{line}; no temperature."]
    before = evaluation.before_temperature.answers
    return [f"{line}; temperature {evaluation.temperature:.3g}, without it {_errors(before)}."]


def _errors(answers: Calibration) -> str:
    ece = "undefined" if answers.ece is None else f"{answers.ece:.3f}"
    return f"calibration error {ece}, slope {_number(answers.slope)}"


def _baselines(baselines: Sequence[Evaluation]) -> list[str]:
    if not baselines:
        return []
    return [
        "Baselines on the same images:",
        "",
        *_table(
            ("baseline", "macro AUC", "balanced accuracy"),
            [
                (_plain(one.architecture), _number(one.macro_auc), _number(one.balanced_accuracy))
                for one in baselines
            ],
        ),
    ]


def _class_table(evaluation: Evaluation) -> list[str]:
    return [
        f"Balanced accuracy {_number(evaluation.balanced_accuracy)}; by class, at its frozen threshold:",
        "",
        *_table(
            ("class", "n", "sensitivity", "specificity", "ROC AUC", ""),
            [_cells(one) for one in evaluation.classes],
        ),
    ]


def _cells(one: ClassEvaluation) -> tuple[str, ...]:
    return (
        _plain(one.title),
        f"{one.n_positive:,}",
        _number(one.sensitivity),
        _number(one.specificity),
        _number(one.roc_auc),
        "" if one.judgement == "enough" else one.judgement,
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A markdown table. The registry's page sets cells without any room between them, so each brings its own."""
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {first} | " + " | ".join(_apart(cell) for cell in rest) + " |" for first, *rest in lines]


def _apart(cell: str) -> str:
    return cell if cell in ("", "---") else f"&ensp;{cell}"


def _number(estimate: Estimate) -> str:
    if estimate.value is None:
        return f"undefined ({_plain(estimate.undefined)})"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.3f}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _provenance(spec: BundleSpec) -> list[str]:
    return [
        "**Where it comes from**",
        "",
        f"- task: {_plain(spec.task)}",
        f"- recipe: `{spec.recipe_name}`, seed {spec.seed}",
        f"- input: {spec.image_size} × {spec.image_size} pixels, preprocessing `{spec.preprocessing.mode}`",
        f"- data: `{spec.data_hash}`",
        f"- reproduce on the same data: `lungline train {spec.recipe_name}`",
        '- use: `mlflow.pyfunc.load_model("models:/<this model>@champion").predict(["xray.png"])`; over HTTP '
        '`{"inputs": ["<base64>"]}`',
    ]


def _plain(text: str) -> str:
    """Text that cannot break out of a table cell or a line."""
    return " ".join(text.split()).replace("|", "\\|")
