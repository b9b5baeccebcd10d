"""Sentences that open a page: the verdict on the data, why an architecture was chosen, where it is registered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models.reports.formatting import capitalised, counted, listed, metric_title

if TYPE_CHECKING:
    from models.evaluation.selection import Selection
    from models.reports.data_section import DataSection
    from models.reports.run_report import Reproduction


def registered(made: Reproduction) -> str:
    """Under which name and version the winner can be found."""
    if not made.registered_name:
        return "It is not registered."
    alias = f", {made.registered_alias}" if made.registered_alias else ""
    return f"It is registered as {made.registered_name} v{made.registered_version}{alias}."


def why(selection: Selection) -> str:
    """The reason of the choice as a sentence, with the metric in words."""
    metric = selection.primary_metric
    return capitalised(selection.why.replace(metric, metric_title(metric)).rstrip(".") + ".")


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
