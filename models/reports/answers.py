"""The five questions a reader asks of a model, answered in plain words from what was measured.

How good, how sure, for whom, why, and could it be cheating. Every answer says in one word how it stands; what stands
against the model is collected in one sentence at the top of the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from models.audit.results import LIMITS
from models.reports.answer import Answer, Mark
from models.reports.for_whom import for_whom
from models.reports.formatting import (
    capitalised,
    counted,
    estimate_with_n,
    listed,
    metric_title,
)

if TYPE_CHECKING:
    from models.evaluation.results import ClassEvaluation, Estimate, Evaluation
    from models.reports.run_report import ArchitectureSection, RunReport


def answers(section: ArchitectureSection, content: RunReport) -> list[Answer]:
    """The five answers for one architecture of the run."""
    return [
        _how_good(section, content),
        _how_sure(section, content),
        for_whom(section),
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
