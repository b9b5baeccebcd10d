"""The verdict of a review from its gates, its dossier byte for byte, and the replay of a version."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data_contracts.errors import EnvironmentProblem, ModelGateError, UsageProblem
from models.evaluation.predictions import Predictions
from models.registry.dossiers import find_dossier, open_dossier
from models.registry.evidence import EVIDENCE_TAG, Evidence, environment_lock
from models.registry.follow import tracking_store
from models.registry.tracking import TrackingStore
from models.registry.versions import CHAMPION, find_version
from models.review.change_plan import read_change_plan
from models.review.checklists import AnsweredChecklist, checklists
from models.review.conduct import Conducted, conduct_review
from models.review.dossier import dossier_files
from models.review.replay import replay
from models.review.results import Gate, Review, verdict_of
from models.review.review import review
from models.review.versions import Pair, Version, find_pair, open_version
from pipelines.recipe import CHANGE_PLAN
from tests.reviewed_versions import NAME, Collection, build_bundle, build_collection, evidence_of, register

PLAN = read_change_plan(CHANGE_PLAN)


@dataclass(frozen=True)
class Registry:
    """Version 1 is the champion, version 2 the challenger."""

    collection: Collection
    store: TrackingStore
    pair: Pair
    conducted: Conducted

    @property
    def home(self) -> Path:
        return self.collection.workspace.home


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("review")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        collection = build_collection(folder)
        store = tracking_store(collection.workspace)
        for seed in (1, 2):
            bundle = build_bundle(collection, folder / str(seed), seed)
            register(collection, bundle, evidence_of(collection, bundle, training__seed=seed))
        store.client.set_registered_model_alias(NAME, CHAMPION, "1")
        conducted = conduct_review(collection.workspace, NAME, None, PLAN, "review-1")
        yield Registry(collection, store, find_pair(collection.workspace, store, NAME, None), conducted)


def with_evidence(version: Version, **changes: Any) -> Version:
    return replace(version, evidence=replace(version.evidence, **changes))


def moved(version: Version, by: float) -> Version:
    """The version with every probability moved towards the truth."""
    predictions = version.evidence.predictions
    assert predictions is not None
    return said(version, predictions.probabilities + by * predictions.truth)


def telling(version: Version, apart: float) -> Version:
    """The version with noise for answers, in which the true class lies higher (or, below 0, lower) by `apart`."""
    predictions = version.evidence.predictions
    assert predictions is not None
    noise = np.random.default_rng(0).normal(0, 0.1, predictions.probabilities.shape)
    return said(version, np.clip(1 + noise + apart * predictions.truth, 0.01, None))


def said(version: Version, scores: NDArray[np.float64]) -> Version:
    predictions = version.evidence.predictions
    assert predictions is not None
    frame = predictions.frame.copy()
    for k, name in enumerate(predictions.class_names):
        frame[f"p_{name}"] = scores[:, k] / scores.sum(axis=1)
    return with_evidence(version, predictions=Predictions(frame))


def gates_of(found: Review) -> dict[str, Gate]:
    return {gate.name: gate for gate in found.gates}


def reviewed(registry: Registry, challenger: Version, champion: Version | None = None) -> Review:
    pair = Pair(challenger, champion or registry.pair.champion, "")
    return review(pair, PLAN, registry.collection.workspace.stores)


def test_one_refusal_outweighs_all_and_one_doubt_outweighs_every_pass() -> None:
    def gate(outcome: Any) -> Gate:
        return Gate(name="x", title="x", outcome=outcome, why="x")

    assert verdict_of([gate("pass"), gate("pass")]) == "PROMOTE"
    assert verdict_of([gate("pass"), gate("hold")]) == "HOLD"
    assert verdict_of([gate("hold"), gate("reject"), gate("pass")]) == "REJECT"
    assert verdict_of([]) == "HOLD"


def test_a_challenger_shown_to_be_worse_is_rejected(registry: Registry) -> None:
    found = reviewed(registry, telling(registry.pair.challenger, 0.0), telling(registry.pair.challenger, 0.15))
    assert gates_of(found)["primary"].outcome == "reject"
    assert found.verdict == "REJECT"
    assert found.reasons[0].startswith(("Not worse overall", "Finds every class"))


def test_a_challenger_shown_to_be_better_passes_the_comparison_and_says_so(registry: Registry) -> None:
    found = reviewed(registry, telling(registry.pair.challenger, 0.15), telling(registry.pair.challenger, 0.0))
    assert found.comparison is not None
    assert found.comparison.primary.judged.verdict == "superior"
    assert gates_of(found)["primary"].outcome == "pass"
    assert any(remark.startswith("Shown to be better than the champion: overall") for remark in found.remarks)


def test_the_same_predictions_are_not_worse_and_not_called_better(registry: Registry) -> None:
    same = registry.pair.challenger
    found = reviewed(registry, same, replace(same, number="1"))
    assert found.comparison is not None
    assert found.comparison.primary.judged.difference.value == 0
    assert not any(one.auc.judged.verdict == "superior" for one in found.comparison.classes)
    assert gates_of(found)["change_plan"].why == "No setting differs from the champion's."


def test_a_leak_rejects_whatever_the_numbers_say(registry: Registry) -> None:
    challenger = registry.pair.challenger
    assert challenger.evidence.lineage is not None
    leaking = challenger.evidence.lineage.model_copy(update={"leaking_pairs": 3})
    found = reviewed(registry, with_evidence(challenger, lineage=leaking))
    assert gates_of(found)["leakage"].outcome == "reject"
    assert found.verdict == "REJECT"


def test_a_network_that_fails_the_shortcut_audit_is_rejected_and_data_that_offer_one_are_held(
    registry: Registry,
) -> None:
    challenger = registry.pair.challenger
    audit = challenger.evidence.audit
    assert audit is not None
    for about, outcome in (("model", "reject"), ("data", "hold")):
        items = [one.model_copy(update={"verdict": "pass"}) for one in audit.items]
        items[0] = items[0].model_copy(update={"verdict": "fail", "about": about})
        failing = audit.model_copy(update={"items": items})
        found = reviewed(registry, with_evidence(challenger, audit=failing))
        assert gates_of(found)["shortcuts"].outcome == outcome


def test_a_change_outside_the_plan_is_held_with_the_setting(registry: Registry) -> None:
    challenger = registry.pair.challenger
    recipe = {**(challenger.evidence.recipe or {}), "sources": ["another"]}
    gate = gates_of(reviewed(registry, with_evidence(challenger, recipe=recipe)))["change_plan"]
    assert (gate.outcome, gate.why) == ("hold", "Outside the change plan: sources.")


def test_margins_are_those_the_challengers_recipe_declared(registry: Registry) -> None:
    challenger = registry.pair.challenger
    recipe = challenger.evidence.recipe or {}
    found = {}
    for margin in (0.001, 0.49):
        declared = {**recipe, "review": {**recipe["review"], "auc_margin": margin}}  # type: ignore[dict-item]
        found[margin] = reviewed(registry, with_evidence(challenger, recipe=declared))
    assert gates_of(found[0.49])["primary"].outcome == "pass"
    assert gates_of(found[0.001])["primary"].outcome != "pass"


def test_what_all_images_share_is_no_subgroup(registry: Registry) -> None:
    comparison = registry.conducted.review.comparison
    assert comparison is not None
    divided_by = {one.by for one in comparison.subgroups}
    assert {"Sex", "View", "Source"} <= divided_by
    assert "File format and colour mode" not in divided_by


def test_a_worn_out_test_set_holds(registry: Registry) -> None:
    challenger = registry.pair.challenger
    evaluations = challenger.evidence.evaluations
    assert evaluations is not None
    read = evaluations.model_copy(update={"test": evaluations.test.model_copy(update={"readings": 51})})
    assert gates_of(reviewed(registry, with_evidence(challenger, evaluations=read)))["wear"].outcome == "hold"


# The dossier


def test_the_same_inputs_give_the_same_bytes_and_the_same_folder(registry: Registry) -> None:
    pair, done = registry.pair, registry.conducted
    first = dossier_files(pair, done.review, PLAN)
    assert first == dossier_files(pair, reviewed(registry, pair.challenger), PLAN)
    again = conduct_review(registry.collection.workspace, NAME, "2", PLAN, "review-2")
    assert again.dossier == done.dossier
    assert {name: (done.dossier.folder / name).read_bytes() for name in first} == first


def test_the_dossier_is_found_by_version_and_a_changed_file_is_noticed(registry: Registry, tmp_path: Path) -> None:
    done = registry.conducted
    found = find_dossier(registry.collection.workspace, NAME, "2")
    assert found is not None
    assert (found.hash, found.verdict.verdict) == (done.dossier.hash, done.review.verdict)
    assert found.folder.name == found.hash[:16]
    copy = tmp_path / found.folder.name
    copy.mkdir()
    for file in found.folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert open_dossier(copy).hash == found.hash
    page = copy / "index.html"
    page.write_text(page.read_text().replace("HOLD", "PROMOTE").replace("REJECT", "PROMOTE"))
    with pytest.raises(ModelGateError, match=r"index\.html"):
        open_dossier(copy)


def test_the_page_loads_nothing_and_links_only_to_files_that_are_there(registry: Registry) -> None:
    folder = registry.conducted.dossier.folder
    names = {file.name for file in folder.iterdir()}
    for page in folder.glob("*.html"):
        text = page.read_text()
        assert not re.search(r"""(?:src|href)=["'](?:https?:|//|/)""", text)
        linked = {target.partition("#")[0] for target in re.findall(r'href="([^"]+)"', text)} - {""}
        assert linked <= names, page.name
    assert "<script" not in registry.conducted.page


def test_the_page_opens_with_the_verdict_its_reasons_and_how_to_decide(registry: Registry) -> None:
    done = registry.conducted
    head = done.page[: done.page.index('id="gates"')]
    assert f"{done.review.verdict}: version 2 against version 1" in head
    for gate in done.review.gates:
        assert (gate.title in head) == (gate.outcome != "pass")
    assert "not a claim of conformity" in head
    assert f"lungline approve 2 --model {NAME}" in done.page


def test_no_patient_and_no_file_name_reaches_evidence_or_dossier(registry: Registry) -> None:
    kept = [*registry.conducted.dossier.folder.iterdir()]
    kept += [file for file in (registry.home / "cache" / "evidence").rglob("*") if file.is_file()]
    assert len(kept) > 20
    for file in kept:
        assert b"patient-name" not in file.read_bytes(), file.name


def test_every_checklist_item_is_answered_by_a_file_or_left_to_a_person(registry: Registry) -> None:
    folder = registry.conducted.dossier.folder
    page = (folder / "checklists.html").read_text()
    assert "no claim that anything conforms" in page
    assert len(checklists()) == 3
    for content in json.loads((folder / "checklists.json").read_bytes()):
        answered = AnsweredChecklist.model_validate(content)
        for item in answered.items:
            assert (item.status == "needs a person") == (item.file == "")
            assert not item.file or (folder / item.file).is_file(), item.item
        assert answered.count("needs a person") > 0


def test_the_version_names_its_review_and_the_run_that_made_it(registry: Registry) -> None:
    version = find_version(registry.store.client, NAME, "2")
    assert version is not None
    assert version.tags["lungline.review.verdict"] == registry.conducted.review.verdict
    assert version.tags["lungline.review.dossier"] == registry.conducted.dossier.hash
    assert version.tags["lungline.review.run"].startswith("review-")
    assert version.tags["lungline.pipeline_run"] == f"{NAME}-training"
    assert len(version.tags[EVIDENCE_TAG]) == 64


def test_the_champion_cannot_be_reviewed_against_itself(registry: Registry) -> None:
    with pytest.raises(UsageProblem, match="is the champion already"):
        find_pair(registry.collection.workspace, registry.store, NAME, "1")


# Replay


def test_a_version_measured_again_is_identical(registry: Registry) -> None:
    done = replay(registry.pair.challenger, registry.collection.workspace.stores)
    assert (done.outcome, done.first_difference, done.changed_packages) == ("identical", "", [])
    assert [stage.name for stage in done.stages] == ["bundle", "images and truths", "probabilities", "evaluation"]


def test_a_replay_tells_rounding_from_another_model_and_says_where_it_begins(registry: Registry) -> None:
    version = registry.pair.challenger
    for by, outcome in ((1e-7, "within tolerance"), (0.1, "different")):
        done = replay(moved(version, by), registry.collection.workspace.stores)
        assert done.outcome == outcome
        assert re.match(r"probability of \w+ for image [0-9a-f]{12}: ", done.first_difference)


def test_a_replay_names_the_measure_that_differs(registry: Registry) -> None:
    version = registry.pair.challenger
    evaluations = version.evidence.evaluations
    assert evaluations is not None
    test = evaluations.test
    moved = test.macro_auc.model_copy(update={"value": 0.999})
    other = evaluations.model_copy(update={"test": test.model_copy(update={"macro_auc": moved, "readings": 7})})
    done = replay(with_evidence(version, evaluations=other), registry.collection.workspace.stores)
    assert done.outcome == "different"
    assert done.first_difference.startswith("test.macro_auc.value: 0.999 was kept")


def test_a_replay_without_the_store_or_the_evidence_says_what_to_do(registry: Registry, tmp_path: Path) -> None:
    version = registry.pair.challenger
    with pytest.raises(EnvironmentProblem, match="image store"):
        replay(version, tmp_path)
    with pytest.raises(ModelGateError, match="registered without predictions"):
        replay(replace(version, evidence=Evidence()), registry.collection.workspace.stores)


def test_a_version_opens_with_the_evidence_it_was_registered_with(registry: Registry) -> None:
    again = open_version(registry.collection.workspace, registry.store, NAME, "2")
    assert again.evidence.missing == []
    assert again.trained_by == f"{NAME}-training"


def test_a_copy_of_a_package_inside_another_is_not_part_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = environment_lock()
    inner = tmp_path / "_vendor" / "numpy-0.0.1.dist-info"
    inner.mkdir(parents=True)
    (inner / "METADATA").write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 0.0.1\n", encoding="utf-8")
    monkeypatch.setattr(sys, "path", [str(inner.parent), *sys.path])

    assert environment_lock() == before
