"""The review of one challenger: comparison, gates, change of plan, and the verdict that follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import JsonValue, ValidationError

from data_contracts.catalog import Catalog
from data_contracts.errors import DataGateError, UsageProblem
from data_contracts.ontology import Task, task_named
from models.evaluation.evaluate import evaluate
from models.evaluation.predictions import Predictions, sealed_probabilities
from models.evaluation.results import Evaluation
from models.evaluation.settings import EvaluationSettings
from models.evaluation.test_readings import hash_of_test_set
from models.review import gates
from models.review.change_plan import ChangePlan, compare_with_plan, settings_of
from models.review.comparison import Measured, compare
from models.review.results import ChangeReport, Comparison, Gate, Review, ReviewedVersion, verdict_of
from models.review.settings import ReviewSettings
from models.review.versions import Pair, Version, store_of


class _NotComparable(Exception):
    """Why the two models cannot be compared on one test set, as a sentence."""


def review(pair: Pair, plan: ChangePlan, stores: Path) -> Review:
    """Everything a person needs to decide. Margins and limits are those of the challenger's own recipe.

    stores: where image stores lie; one is read only where the champion's predictions were not kept. The same two
    versions and plan give the same review. Raises UsageProblem where the recipe's review section is not one.
    """
    new, evidence = pair.challenger, pair.challenger.evidence
    task, settings = task_named(new.bundle.spec.task), settings_of_review(evidence.recipe)
    test = evidence.evaluations.test if evidence.evaluations else None
    problem, comparison = "", None
    if pair.champion is None:
        problem = "There is no champion to share a test set with."
    else:
        try:
            comparison = _comparison(new, pair.champion, task, settings, stores)
        except _NotComparable as why:
            problem = str(why)
    changes = _changes(pair, plan)
    asked: list[Gate] = [
        gates.champion_gate(pair.no_champion),
        *([gates.same_test_set_gate(problem, comparison.n if comparison else 0)] if pair.champion else []),
        gates.evidence_gate(evidence),
        gates.positives_gate(test, settings),
        *_comparing(comparison, settings),
        gates.subgroup_gap_gate(test),
        gates.calibration_gate(test, settings),
        gates.shortcut_gate(evidence, settings),
        gates.leakage_gate(evidence.lineage),
        gates.wear_gate(test, settings),
        *([gates.change_gate(changes)] if pair.champion else []),
    ]
    verdict = verdict_of(asked)
    return Review(
        model_name=new.model_name,
        task=task.name,
        task_title=task.title,
        challenger=new.number,
        champion=pair.champion.number if pair.champion else None,
        no_champion=pair.no_champion,
        versions={
            "challenger": _described(new),
            **({"champion": _described(pair.champion)} if pair.champion else {}),
        },
        test_set_hash=test.test_set if test else "",
        verdict=verdict,
        reasons=_reasons(asked),
        remarks=_remarks(new, test, comparison),
        gates=asked,
        comparison=comparison,
        changes=changes,
        lineage=evidence.lineage,
    )


def settings_of_review(recipe: dict[str, JsonValue] | None) -> ReviewSettings:
    """The review section of a recipe as it was registered; the defaults where it has none."""
    try:
        return ReviewSettings.model_validate((recipe or {}).get("review", {}))
    except ValidationError as error:
        raise UsageProblem(
            f"The challenger's recipe declares no review that this program understands: {error.errors()[0]['msg']}.",
            why="The margins have to be those that were declared before training.",
            cure="Use the program version that registered the model, or train and register again.",
        ) from error


def rows_on_test(version: Version) -> Predictions | None:
    """What a version said of its test images, or None where that was not kept."""
    predictions = version.evidence.predictions
    return predictions.of_split("test") if predictions else None


def _comparing(comparison: Comparison | None, settings: ReviewSettings) -> list[Gate]:
    if comparison is None:
        return []
    return [
        gates.primary_gate(comparison),
        gates.sensitivity_gate(comparison),
        gates.class_auc_gate(comparison),
        gates.subgroup_gate(comparison, settings),
    ]


def _comparison(new: Version, old: Version, task: Task, settings: ReviewSettings, stores: Path) -> Comparison:
    """Raises _NotComparable where the two were not, and cannot be, measured on the same test images."""
    if (old.bundle.spec.task, old.bundle.spec.class_names) != (task.name, new.bundle.spec.class_names):
        raise _NotComparable(f"The champion answers another question: task {old.bundle.spec.task}.")
    mine, catalog, evaluations = rows_on_test(new), new.evidence.catalog, new.evidence.evaluations
    if mine is None or catalog is None or evaluations is None:
        raise _NotComparable("The challenger's predictions on its test images were not kept.")
    test_set = hash_of_test_set(mine.frame, task)
    if test_set != evaluations.test.test_set:
        raise _NotComparable("The challenger's predictions are of other images than its evaluation.")
    theirs, kept = rows_on_test(old), True
    known_as = hash_of_test_set(theirs.frame, task) if theirs else old.test_set
    if known_as != test_set:
        said = (
            f"the champion's is {known_as[:10]}" if known_as else "nobody knows what the champion was measured on"
        )
        raise _NotComparable(
            f"The test set has changed since the champion was measured: it is {test_set[:10]} now, {said}."
        )
    if theirs is None:
        theirs, kept = _read_again(new, old, mine, catalog, task, stores), False
    of_champion = old.evidence.evaluations.test if old.evidence.evaluations and kept else None
    measured = Measured(old.bundle.spec, theirs, of_champion or _evaluated(old, theirs, task, new.evidence.recipe))
    return compare(
        Measured(new.bundle.spec, mine, evaluations.test), measured, catalog, task, settings, rescored=not kept
    )


def _read_again(
    new: Version, old: Version, mine: Predictions, catalog: Catalog, task: Task, stores: Path
) -> Predictions:
    """The champion's predictions of the challenger's test images, from the challenger's image store."""
    sizes = [version.bundle.spec.recipe.get("images") for version in (new, old)]
    if sizes[0] != sizes[1]:
        raise _NotComparable("The champion's predictions were not kept, and it needs images stored another way.")
    try:
        store = store_of(new, stores)
    except DataGateError as problem:
        raise _NotComparable(f"The champion cannot read the test images again: {problem.what}") from problem
    if store is None:
        raise _NotComparable(
            "The champion's predictions were not kept, and the image store to read them again from is not here."
        )
    spec = old.bundle.spec
    rows = catalog.frame.set_index("image_id").loc[mine.frame["image_id"]].reset_index()
    probabilities = sealed_probabilities(old.bundle.load_model(), spec, store.images, rows["row"].to_numpy())
    return Predictions.of(rows, probabilities, spec.class_names, multi_label=task.multi_label)


def _evaluated(
    version: Version, predictions: Predictions, task: Task, recipe: dict[str, JsonValue] | None
) -> Evaluation:
    spec = version.bundle.spec
    return evaluate(
        predictions,
        architecture=spec.architecture,
        task=task,
        operating_points=spec.operating_points,
        rule_in=spec.rule_in,
        temperature=spec.temperature,
        settings=EvaluationSettings.model_validate((recipe or {}).get("evaluation", {})),
    )


def _changes(pair: Pair, plan: ChangePlan) -> ChangeReport | None:
    new, old = pair.challenger, pair.champion
    if old is None or new.evidence.recipe is None or old.evidence.recipe is None:
        return None
    return compare_with_plan(
        plan,
        settings_of(old.bundle.spec, old.evidence.recipe),
        settings_of(new.bundle.spec, new.evidence.recipe),
    )


def _described(version: Version) -> ReviewedVersion:
    spec = version.bundle.spec
    return ReviewedVersion(
        version=version.number,
        run_id=version.run_id,
        bundle=version.bundle.content_hash,
        architecture=spec.architecture,
        recipe_name=spec.recipe_name,
        data=spec.data_hash,
        seed=spec.seed,
    )


def _reasons(asked: Sequence[Gate]) -> list[str]:
    """What decided, the gravest first; every gate's own words where all passed."""
    decisive = [gate for gate in asked if gate.outcome == "reject"] + [g for g in asked if g.outcome == "hold"]
    return [f"{gate.title}: {gate.why}" for gate in decisive or asked]


def _remarks(new: Version, test: Evaluation | None, comparison: Comparison | None) -> list[str]:
    remarks = []
    if comparison is not None:
        better = [one.title for one in comparison.classes if one.auc.judged.verdict == "superior"]
        overall = comparison.primary.judged.verdict == "superior"
        if overall or better:
            claimed = (["overall"] if overall else []) + better
            remarks.append(f"Shown to be better than the champion: {', '.join(claimed)}.")
        else:
            remarks.append("Nowhere shown to be better than the champion; not worse is all that was asked.")
        if comparison.rescored:
            remarks.append("The champion read the test images again, because its own predictions were not kept.")
        few = sum(one.judged is None for one in comparison.subgroups)
        if few:
            remarks.append(f"{few} subgroups hold too few positive images to be judged.")
        if comparison.not_there:
            remarks.append(f"Not evaluated, because no test image is there: {'; '.join(comparison.not_there)}.")
    if new.evidence.audit is not None:
        remarks += [
            statement for statement in new.evidence.audit.statements if statement.startswith("Not evaluated")
        ]
    if test is not None:
        remarks += test.notes
    if new.evidence.evaluations is not None and new.evidence.evaluations.external is None:
        remarks.append("No source was held out: nothing here shows how the model does on images from elsewhere.")
    return remarks
