"""For whom does a model work: on pictures from elsewhere, and in parts of the patients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from models.evaluation.external import class_gaps, primary_gap, without_external_images
from models.reports.answer import Answer
from models.reports.formatting import counted, difference, estimate_with_n, interval, listed, metric_title

if TYPE_CHECKING:
    from models.evaluation.results import Evaluation, SubgroupTable, WorstGroup
    from models.reports.run_report import ArchitectureSection

# A fall of the primary metric on external images from which on the internal number misleads; the size of the
# sensitivity gap that a subgroup may show.
MUCH_LOST = 0.10


def for_whom(section: ArchitectureSection) -> Answer:
    """What was measured on external images and in subgroups."""
    question, internal, external = "For whom?", section.evaluation, section.external
    groups, fell_behind = _subgroups(internal.subgroups)
    behind = f"it misses more {fell_behind}" if fell_behind else ""
    if external is None:
        said = [
            "No external images were read, so how it does on pictures from elsewhere was not measured.",
            *groups,
        ]
        unknown = "it was not measured on pictures from elsewhere"
        return Answer(question, "caution", "unknown elsewhere", said, _both(unknown, behind))
    metric, value = metric_title(internal.primary_metric), estimate_with_n(external.primary)
    if external.primary.value is None or internal.primary.value is None:
        said = [f"On {counted(external.n, 'external image')} its {metric} is {value}.", *groups]
        return _by_class(internal, external, said, behind)
    gap = primary_gap(internal, external).difference
    said = [
        f"On external images its {metric} was {value}, a difference of {difference(gap)} from {internal.split}."
    ]
    if absent := without_external_images(external):
        said.append(f"No external image shows {listed(absent)}.")
    said += groups
    lost = gap.value is not None and gap.high is not None and gap.high < 0
    if lost and gap.value is not None and gap.value <= -MUCH_LOST:
        much = "it does much worse on pictures from elsewhere"
        return Answer(question, "bad", "loses much elsewhere", said, _both(much, behind))
    if lost:
        return Answer(question, "caution", "loses elsewhere", said, _both("it does worse elsewhere", behind))
    if absent:
        unknown = f"{listed(absent)} could not be measured on pictures from elsewhere"
        return Answer(question, "caution", "partly unknown elsewhere", said, _both(unknown, behind))
    guessing = 0.5 if external.primary_metric == "macro_auc" else 1 / len(external.class_names)
    if external.primary.low is None or external.primary.low <= guessing:
        # What is not above guessing at home cannot lose anything elsewhere.
        unshown = "it was not shown to be better than guessing on pictures from elsewhere"
        return Answer(question, "caution", "not shown elsewhere", said, _both(unshown, behind))
    if behind:
        return Answer(question, "caution", "not for all alike", said, behind)
    return Answer(question, "good", "holds elsewhere", said)


def _by_class(internal: Evaluation, external: Evaluation, said: list[str], behind: str) -> Answer:
    """The answer where not every class has external images: by the class whose AUC fell most."""
    question, fallen = "For whom?", []
    for one in class_gaps(internal, external):
        gap = one.gaps["roc_auc"].difference
        if gap.value is not None:
            fallen.append((gap.value, one.title, one.gaps["roc_auc"].external, gap))
    if not fallen:
        unknown = "it could not be measured on pictures from elsewhere"
        return Answer(question, "caution", "unknown elsewhere", said, _both(unknown, behind))
    value, title, there, gap = min(fallen, key=lambda found: found[0])
    said.insert(
        1,
        f"Of the classes that external images show, {title} fell most: ROC AUC {estimate_with_n(there)}, a difference "
        f"of {difference(gap)} from {internal.split}.",
    )
    if value <= -MUCH_LOST and gap.high is not None and gap.high < 0:
        much = f"it does much worse on pictures from elsewhere ({title})"
        return Answer(question, "bad", "loses much elsewhere", said, _both(much, behind))
    unknown = f"{listed(without_external_images(external))} could not be measured on pictures from elsewhere"
    return Answer(question, "caution", "partly unknown elsewhere", said, _both(unknown, behind))


def _both(first: str, second: str) -> str:
    return f"{first}; {second}" if second else first


def _subgroups(tables: Sequence[SubgroupTable]) -> tuple[list[str], str]:
    """Sentences on the subgroups, and where the largest gap is that chance does not excuse, "" where there is none."""
    if not tables:
        return ["Subgroups of patients were not evaluated."], ""
    behind: list[tuple[float, str, str, WorstGroup]] = []
    for table in tables:
        for one in table.classes:
            if one.worst is not None and one.worst.too_wide and one.worst.gap.value is not None:
                behind.append((one.worst.gap.value, one.title, table.title, one.worst))
    said, where = [], ""
    if behind:
        value, title, by, worst = max(behind, key=lambda found: found[0])
        where = f"in some groups ({title}, {by.lower()} {worst.group})"
        said.append(
            f"For {title} its sensitivity is {value:.2f} lower ({interval(worst.gap) or 'no interval'}) in the group "
            f"“{worst.group}” ({by.lower()}) than in all."
        )
        if len(behind) > 1:
            said.append(f"So it is, by more than 0.10, in {counted(len(behind) - 1, 'other comparison')}.")
    elif any(one.worst for table in tables for one in table.classes):
        said.append(
            "No group of patients that is large enough to judge fell behind by more than 0.10 for certain."
        )
    else:
        said.append("No property of the images divides them into groups that are large enough to compare.")
    if missing := [table.title.lower() for table in tables if table.why_not]:
        said.append(f"Not evaluated, because it is not known: {listed(missing)}.")
    return said, where
