"""The five questions a reader asks of a model, answered in plain words from what was measured.

How good, how sure, for whom, why, and could it be cheating. Every answer says in one word how it stands; what stands
against the model is collected in one sentence at the top of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from models.audit.results import LIMITS
from models.evaluation.external import class_gaps, primary_gap, without_external_images
from models.reports.formatting import (
    capitalised,
    counted,
    difference,
    estimate_with_n,
    interval,
    listed,
    metric_title,
)

if TYPE_CHECKING:
    from models.evaluation.results import ClassEvaluation, Estimate, Evaluation, SubgroupTable, WorstGroup
    from models.reports.run_report import ArchitectureSection, RunReport

Mark = Literal["good", "caution", "bad"]
# A fall of the primary metric on external images from which on the internal number misleads; the size of the
# sensitivity gap that a subgroup may show.
MUCH_LOST = 0.10


@dataclass(frozen=True, slots=True)
class Answer:
    """One question. word: how it stands, beside its mark. reservation: what a reader must hold against the model,
    as the end of a sentence, "" where there is nothing.
    """

    question: str
    mark: Mark
    word: str
    sentences: list[str]
    reservation: str = ""


def answers(section: ArchitectureSection, content: RunReport) -> list[Answer]:
    """The five answers for one architecture of the run."""
    return [
        _how_good(section, content),
        _how_sure(section, content),
        _for_whom(section),
        _why(section),
        _could_it_cheat(section, content),
    ]


def trust(name: str, found: Sequence[Answer]) -> tuple[Mark, str, str]:
    """Whether to trust the model: what speaks against it most, and what must be held against it besides, or ""."""
    against = [one.reservation for one in found if one.mark == "bad"]
    open_points = [one.reservation for one in found if one.mark == "caution"]
    besides = capitalised(f"{'; '.join(open_points)}.") if open_points else ""
    if against:
        return "bad", f"Do not trust {name} yet: {'; '.join(against)}.", besides
    if open_points:
        return "caution", f"Trust {name} only with reservations.", besides
    return (
        "good",
        f"Nothing that was measured speaks against {name}.",
        "Only its use on new patients can show the rest.",
    )


def baseline(content: RunReport, kind: Literal["pixels", "border"]) -> Evaluation | None:
    """What the comparison with almost nothing reached on test; None where it was not measured."""
    from models.evaluation.baselines import BORDER, PIXELS

    wanted = PIXELS if kind == "pixels" else BORDER
    return next((one.test for one in content.baselines if one.architecture == wanted), None)


def beaten_by_pixels(content: RunReport) -> bool:
    """Whether small pictures did at least as well as every network."""
    pixels = baseline(content, "pixels")
    best = [
        one.evaluation.primary.value for one in content.architectures if one.evaluation.primary.value is not None
    ]
    return (
        pixels is not None
        and pixels.primary.value is not None
        and bool(best)
        and pixels.primary.value >= max(best)
    )


def _how_good(section: ArchitectureSection, content: RunReport) -> Answer:
    question, tested = "How good?", section.evaluation
    metric, value = metric_title(content.selection.primary_metric), estimate_with_n(tested.primary)
    n, rank = len(content.architectures), content.selection.ranking.index(section.name) + 1
    place = f"was {'best' if rank == 1 else f'number {rank}'} of {n} on validation"
    place = place if n > 1 else "was the only architecture"
    if tested.primary.value is None:
        nothing = f"{section.name} {place}, but its {metric} on {tested.split} is {value}."
        return Answer(question, "bad", "not measured", [nothing], "how good it is could not be measured")
    said = [f"{section.name} {place} and reached a {metric} of {value} on {tested.split}.", *_weakest(tested)]
    pixels = baseline(content, "pixels")
    if pixels is None or pixels.primary.value is None:
        said.append("It was not compared with anything simpler.")
        return Answer(question, "caution", "not compared", said, "it was not compared with anything simpler")
    simple = f"A logistic regression on pictures of 32 × 32 pixels reached {estimate_with_n(pixels.primary)}"
    if beaten_by_pixels(content):
        said.append(f"{simple}: no network here does better.")
        return Answer(
            question, "bad", "no better than tiny pictures", said, "no network beat a regression on tiny pictures"
        )
    if pixels.primary.value >= tested.primary.value:
        said.append(f"{simple}: this network does not do better.")
        return Answer(
            question, "bad", "no better than tiny pictures", said, "it did not beat a regression on tiny pictures"
        )
    if _overlap(tested.primary, pixels.primary):
        said.append(f"{simple}; the intervals overlap, so its lead may be chance.")
        return Answer(question, "caution", "lead not certain", said, "its lead over tiny pictures may be chance")
    said.append(f"{simple}; the network is clearly better.")
    return Answer(question, "good", "better than tiny pictures", said)


def _weakest(tested: Evaluation) -> list[str]:
    measured = [
        (one.sensitivity.value, place, one)
        for place, one in enumerate(tested.classes)
        if one.sensitivity.value is not None and one.judgement != "too few to judge"
    ]
    if len(measured) < 2:
        return []
    one: ClassEvaluation = min(measured)[2]
    return [
        f"Its weakest class is {one.title}: sensitivity {estimate_with_n(one.sensitivity)}, specificity "
        f"{estimate_with_n(one.specificity)}."
    ]


def _how_sure(section: ArchitectureSection, content: RunReport) -> Answer:
    tested = section.evaluation
    said = [
        f"The numbers rest on {counted(tested.n, f'{tested.split} image')} in "
        f"{counted(tested.n_groups, 'identity group')}."
    ]
    said += order_on_test(content) if section is content.winner else []
    thin = [one for one in tested.classes if one.judgement == "too few to judge"]
    wide = [one.title for one in tested.classes if one.judgement == "wide"]
    if thin:
        few = [f"{one.title} ({counted(one.n_positive, f'{tested.split} positive')})" for one in thin]
        said.append(f"Too few to judge: {listed(few)}.")
    if wide:
        said.append(f"The sensitivity of {listed(wide)} is known too vaguely to decide anything.")
    if tested.readings is not None:
        said.append(f"This test set has been read {counted(tested.readings, 'time')}, this one included.")
    if len(thin) == len(tested.classes):
        return Answer("How sure?", "bad", "too few images", said, "there are too few images of any class to judge")
    if thin:
        few_of = listed([one.title for one in thin])
        return Answer(
            "How sure?", "caution", "too few images", said, f"there are too few images of {few_of} to judge"
        )
    if wide:
        return Answer("How sure?", "caution", "wide", said, f"the sensitivity of {listed(wide)} is known vaguely")
    return Answer("How sure?", "good", "enough images", said)


def order_on_test(content: RunReport) -> list[str]:
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
        said.append(
            f"Its interval overlaps {whose} of {listed(overlapping)}: other images might rank them differently."
        )
    return said


def _for_whom(section: ArchitectureSection) -> Answer:
    question, internal, external = "For whom?", section.evaluation, section.external
    groups, fell_behind = _subgroups(internal.subgroups)
    behind = f"it misses more {fell_behind}" if fell_behind else ""
    if external is None:
        said = ["No source was held out, so how it does on pictures from elsewhere was not measured.", *groups]
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
    """Sentences on the subgroups, and where the largest gap beyond chance is, "" where there is none."""
    if not tables:
        return ["Subgroups of patients were not evaluated."], ""
    certain: list[tuple[float, str, str, WorstGroup]] = []
    for table in tables:
        for one in table.classes:
            if one.worst is not None and one.worst.too_wide and one.worst.gap.value is not None:
                certain.append((one.worst.gap.value, one.title, table.title, one.worst))
    said, where = [], ""
    if certain:
        value, title, by, worst = max(certain, key=lambda found: found[0])
        where = f"in some groups ({title}, {by.lower()} {worst.group})"
        said.append(
            f"For {title} its sensitivity is {value:.2f} lower ({interval(worst.gap)}) in the group "
            f"“{worst.group}” ({by.lower()}) than in all."
        )
        if len(certain) > 1:
            said.append(f"So it is, by more than 0.10, in {counted(len(certain) - 1, 'other comparison')}.")
    elif any(one.worst for table in tables for one in table.classes):
        said.append(
            "No group of patients that is large enough to judge fell behind by more than 0.10 for certain."
        )
    else:
        said.append("No property of the images divides them into groups that are large enough to compare.")
    if missing := [table.title.lower() for table in tables if table.why_not]:
        said.append(f"Not evaluated, because it is not known: {listed(missing)}.")
    return said, where


def _why(section: ArchitectureSection) -> Answer:
    question, shown = "Why?", section.explanation
    if shown is None:
        nothing = "Nothing shows whether its answers come from where disease would be."
        return Answer(
            question, "caution", "not explained", [nothing], "what its answers rest on was not looked at"
        )
    checks = shown.faithfulness
    others = [checks.lung_energy, checks.pointing_game, checks.deletion_insertion]
    said = [one.statement for one in (shown.sanity, *others)]
    if shown.sanity.verdict == "failed":
        against = "its heat maps do not depend on what it learnt"
        return Answer(question, "bad", "maps mean nothing", said, against)
    if any(one.verdict == "failed" for one in others):
        against = "its heat maps failed a check of where it looks"
        return Answer(question, "caution", "maps failed a check", said, against)
    if shown.sanity.verdict == "passed" and any(one.verdict == "passed" for one in others):
        return Answer(question, "good", "maps passed their checks", said)
    return Answer(question, "caution", "open", said, "what its heat maps are worth is open")


def _could_it_cheat(section: ArchitectureSection, content: RunReport) -> Answer:
    question = "Could it be cheating?"
    bad, open_points, said = [], [], []
    audit = section.audit
    if audit is None:
        said.append("It was not audited for shortcuts.")
        open_points.append("it was not audited for shortcuts")
    else:
        by_verdict = {
            verdict: [item for item in audit.items if item.verdict == verdict]
            for verdict in ("fail", "warn", "not evaluated")
        }
        passed = sum(item.verdict == "pass" for item in audit.items)
        said.append(
            f"Of {counted(len(audit.items), 'test')} for shortcuts it passed {passed}, failed "
            f"{len(by_verdict['fail'])} and gave {counted(len(by_verdict['warn']), 'warning')}; "
            f"{len(by_verdict['not evaluated'])} could not be made."
        )
        for verb, verdict in (("Failed", "fail"), ("Warned", "warn")):
            if items := by_verdict[verdict]:
                said.append(f"{verb}: {listed([item.title for item in items])}.")
        if failed := by_verdict["fail"]:
            bad.append(f"the shortcut audit failed ({listed([item.title.lower() for item in failed])})")
        elif audit.verdict == "warn":
            open_points.append("the shortcut audit warns")
        elif audit.verdict == "not evaluated":
            open_points.append("the shortcut audit is incomplete")
    if border := _border(section, content):
        said.append(border)
        bad.append("the border of the pictures alone does nearly as well")
    if titles := [item.class_title for item in content.data.confounded]:
        comes = "comes" if len(titles) == 1 else "come"
        said.append(
            f"Confounded by design: {listed(titles)} {comes} from one source only; the waiver is under Composition."
        )
        open_points.append(f"{listed(titles)} {comes} from one source only")
    if leaking := content.data.identity.groups_in_several_splits:
        said.append(f"The split leaks: {counted(leaking, 'identity group')} in more than one split.")
        bad.append("the same patients are in training and test")
    if bad:
        return Answer(question, "bad", "likely", said, "; ".join(bad))
    if open_points:
        return Answer(question, "caution", "cannot be ruled out", said, "; ".join(open_points))
    return Answer(question, "good", "no sign of it", said)


def _border(section: ArchitectureSection, content: RunReport) -> str:
    """A sentence where the border alone has at least the share of the network's skill that fails the audit."""
    border, limit = baseline(content, "border"), LIMITS["border_only"].fail_from
    if (
        border is None
        or border.macro_auc.value is None
        or section.evaluation.macro_auc.value is None
        or limit is None
    ):
        return ""
    skill, of_border = section.evaluation.macro_auc.value - 0.5, border.macro_auc.value - 0.5
    if skill <= 0 or of_border / skill < limit:
        return ""
    return capitalised(
        f"the outer 5 % of the pictures alone reaches a macro ROC AUC of {estimate_with_n(border.macro_auc)}, "
        f"{of_border / skill:.0%} of what the network has above chance."
    )


def _overlap(first: Estimate, second: Estimate) -> bool:
    """Whether two intervals share a value; False where one has none."""
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return False
    return first.low <= second.high and second.low <= first.high
