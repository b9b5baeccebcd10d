"""The opening of a page in plain words: what was found, how sure it is, what to read before trusting it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.evaluation.external import primary_gap
from models.reports.formatting import capitalised, counted, difference, estimate_with_n, listed, metric_title

if TYPE_CHECKING:
    from models.evaluation.results import Estimate
    from models.evaluation.selection import Selection
    from models.reports.data_section import DataSection
    from models.reports.run_report import ArchitectureSection, RunReport


def run_sentences(content: RunReport) -> list[str]:
    """The verdict of a run, a statement per item: winner, how sure the order is, external images, registration."""
    said = [_winner(content), *_order(content), _elsewhere(content), *_confounded(content.data)]
    made = content.reproduction
    if made.registered_name:
        alias = f", {made.registered_alias}" if made.registered_alias else ""
        said.append(f"It is registered as {made.registered_name} v{made.registered_version}{alias}.")
    else:
        said.append("It is not registered.")
    tested = content.winner.evaluation
    thin = [
        f"{c.title} ({counted(c.n_positive, f'{tested.split} positive')})"
        for c in tested.classes
        if c.judgement == "too few to judge"
    ]
    if thin:
        said.append(f"Too few to judge: {listed(thin)}.")
    return said


def why(selection: Selection) -> str:
    """The reason of the choice as a sentence, with the metric in words."""
    metric = selection.primary_metric
    return capitalised(selection.why.replace(metric, metric_title(metric)).rstrip(".") + ".")


def notes(ranked: Sequence[ArchitectureSection], winner: str) -> tuple[list[str], list[tuple[str, str]]]:
    """What the evaluations ask to be read first: notes on the winner, and (architectures, note) of others."""
    said_by: dict[str, list[str]] = {}
    for section in ranked:
        for note in section.evaluation.notes:
            said_by.setdefault(note, []).append(section.name)
    first = [note for note, names in said_by.items() if winner in names]
    return first, [(listed(names), note) for note, names in said_by.items() if winner not in names]


def data_sentences(data: DataSection) -> list[str]:
    """The verdict on the data, one statement per item: gate, counts, label conflicts, leakage."""
    checks = data.validation.checks if data.validation else []
    critical = [c for c in checks if not c.passed and c.severity == "critical"]
    warnings = [c for c in checks if not c.passed and c.severity == "warning"]
    if not checks:
        said = ["These data were not validated."]
    elif critical:
        failed = counted(len(critical), "critical expectation")
        said = [f"Stopped: {failed} failed. Nothing may train on these data."]
    elif warnings:
        said = [f"These data may be used, with {counted(len(warnings), 'warning')}."]
    else:
        said = [f"These data may be used: all {counted(len(checks), 'expectation')} hold."]
    counts = data.counts
    said.append(
        f"Of {counted(counts.offered, 'file')} offered, {counts.kept:,} were kept, "
        f"{counts.quarantined:,} quarantined and {counts.duplicate:,} found to be duplicates."
    )
    if data.label_conflict_groups:
        verb = "appears" if data.label_conflict_groups == 1 else "appear"
        said.append(f"{counted(data.label_conflict_groups, 'picture')} {verb} under contradicting labels.")
    said += _confounded(data)
    if data.identity.groups_in_several_splits:
        leaking = counted(data.identity.groups_in_several_splits, "identity group")
        said.append(f"The split leaks: {leaking} in more than one split.")
    return said


def _confounded(data: DataSection) -> list[str]:
    """The classes that a written waiver lets through although only one source has them."""
    if not data.confounded:
        return []
    titles = [item.class_title for item in data.confounded]
    comes = "comes" if len(titles) == 1 else "come"
    return [
        f"Confounded by design: {listed(titles)} {comes} from one source only; the waiver is under Composition."
    ]


def _winner(content: RunReport) -> str:
    winner, tested = content.winner, content.winner.evaluation
    metric, value = metric_title(content.selection.primary_metric), estimate_with_n(tested.primary)
    n = len(content.architectures)
    best = f"was best of {n} on validation" if n > 1 else "was the only architecture"
    if tested.primary.value is None:
        return f"{winner.name} {best}, but its {metric} on {tested.split} is {value}."
    return f"{winner.name} {best} and reached a {metric} of {value} on {tested.split}."


def _order(content: RunReport) -> list[str]:
    """What the test split says of an order that was found on validation."""
    winner, split = content.winner, content.winner.evaluation.split
    mine = winner.evaluation.primary
    higher, overlapping = [], []
    for section in content.ranked:
        theirs = section.evaluation.primary
        if section is winner or mine.value is None or theirs.value is None:
            continue
        if theirs.value > mine.value:
            higher.append(section.name)
        if _overlap(mine, theirs):
            overlapping.append(section.name)
    said = []
    if higher:
        said.append(
            f"On {split} {listed(higher)} measured higher. The choice was made on validation, "
            f"because a choice on {split} would flatter whatever it chose."
        )
    if overlapping:
        whose = "that" if len(overlapping) == 1 else "those"
        rivals = f"{whose} of {listed(overlapping)}"
        said.append(f"Its interval overlaps {rivals}: other images might rank them differently.")
    return said


def _elsewhere(content: RunReport) -> str:
    """How the winner does on images of sources that were held out."""
    internal, external = content.winner.evaluation, content.winner.external
    if external is None:
        return "No source was held out, so how it does on pictures from elsewhere was not measured."
    metric, value = metric_title(content.selection.primary_metric), estimate_with_n(external.primary)
    if external.primary.value is None or internal.primary.value is None:
        return f"On {counted(external.n, 'external image')} its {metric} is {value}."
    gap = difference(primary_gap(internal, external).difference)
    return f"On external images its {metric} was {value}, a difference of {gap} from {internal.split}."


def _overlap(first: Estimate, second: Estimate) -> bool:
    """Whether two intervals share a value; False where one has none."""
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return False
    return first.low <= second.high and second.low <= first.high
