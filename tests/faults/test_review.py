"""F40: no champion, a first model, a champion that cannot be loaded, a test set that changed: the review holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from data_contracts.errors import ModelGateError
from models.registry.bundle import ModelBundle
from models.registry.evidence import Evidence
from models.registry.follow import tracking_store
from models.registry.tracking import TrackingStore
from models.registry.versions import CHAMPION
from models.review.change_plan import read_change_plan
from models.review.conduct import conduct_review
from models.review.results import Gate, Review
from models.review.review import review
from models.review.versions import Pair, Version, find_pair
from pipelines.recipe import CHANGE_PLAN
from tests.reviewed_versions import (
    Collection,
    build_bundle,
    build_collection,
    evidence_of,
    recipe,
    register,
    without,
)

PLAN = read_change_plan(CHANGE_PLAN)


@dataclass(frozen=True)
class Registry:
    """Two bundles with their evidence; each test registers them under a model name of its own."""

    collection: Collection
    store: TrackingStore
    bundles: list[ModelBundle]
    evidence: list[Evidence]

    def register(self, name: str, first: Evidence | None, second: Evidence | None) -> None:
        """Version 1, the champion, and version 2, the challenger."""
        register(self.collection, self.bundles[0], first, name)
        self.store.client.set_registered_model_alias(name, CHAMPION, "1")
        register(self.collection, self.bundles[1], second, name)

    def pair(self, name: str) -> Pair:
        return find_pair(self.collection.workspace, self.store, name, None)

    def review(self, pair: Pair) -> Review:
        return review(pair, PLAN, self.collection.workspace.stores)


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        collection = build_collection(folder)
        bundles = [build_bundle(collection, folder / str(seed), seed) for seed in (1, 2)]
        evidence = [evidence_of(collection, bundle) for bundle in bundles]
        yield Registry(collection, tracking_store(collection.workspace), bundles, evidence)


def gate(found: Review, name: str) -> Gate:
    return next(one for one in found.gates if one.name == name)


def held(found: Review) -> bool:
    """Not promoted. The untrained networks of these tests may besides be refused for reading a shortcut."""
    return found.verdict != "PROMOTE"


def test_f40_the_first_model_is_held_and_never_promoted_by_default(registry: Registry) -> None:
    register(registry.collection, registry.bundles[0], registry.evidence[0], "first")
    done = conduct_review(registry.collection.workspace, "first", None, PLAN, "run")
    assert held(done.review)
    assert done.review.champion is None
    assert gate(done.review, "champion").outcome == "hold"
    assert "has no champion yet" in gate(done.review, "champion").why
    assert done.review.comparison is None
    assert done.dossier.verdict.champion is None
    assert "There is no comparison" in done.page


def test_f40_a_champion_whose_files_were_changed_holds_the_review(registry: Registry) -> None:
    registry.register("changed", *registry.evidence)
    run = registry.pair("changed").champion
    assert run is not None
    shutil.rmtree(registry.collection.workspace.cache / "versions" / "changed")
    weights = next((registry.collection.workspace.mlflow / "artifacts" / run.run_id).rglob("weights.safetensors"))
    content = weights.read_bytes()
    try:
        weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        found = registry.review(registry.pair("changed"))
    finally:
        weights.write_bytes(content)
    assert held(found)
    assert "cannot be loaded" in gate(found, "champion").why


def test_f40_a_champion_whose_files_are_gone_holds_the_review(registry: Registry) -> None:
    registry.register("gone", *registry.evidence)
    champion = registry.pair("gone").champion
    assert champion is not None
    shutil.rmtree(registry.collection.workspace.cache / "versions" / "gone")
    model = registry.collection.workspace.mlflow / "artifacts" / champion.run_id / "artifacts" / "model"
    aside = model.rename(model.with_name("aside"))
    try:
        pair = registry.pair("gone")
    finally:
        aside.rename(model)
    assert pair.champion is None
    assert "cannot be loaded" in pair.no_champion


def test_f40_a_changed_test_set_holds_and_names_both(registry: Registry, tmp_path: Path) -> None:
    other = build_collection(tmp_path, split_seed=1)
    measured_elsewhere = evidence_of(other, registry.bundles[0])
    pair = Pair(*_two(registry, "moved", measured_elsewhere), "")
    found = registry.review(pair)
    assert held(found)
    assert gate(found, "test_set").outcome == "hold"
    assert "The test set has changed since the champion was measured" in gate(found, "test_set").why
    assert found.comparison is None


def test_f40_a_changed_truth_is_a_changed_test_set(registry: Registry) -> None:
    predictions = registry.evidence[0].predictions
    assert predictions is not None
    frame = predictions.frame.copy()
    frame["label"] = frame["label"].replace({"normal": "covid19"})
    relabelled = replace(registry.evidence[0], predictions=type(predictions)(frame))
    found = registry.review(Pair(*_two(registry, "relabelled", relabelled), ""))
    assert gate(found, "test_set").outcome == "hold"


def test_f40_missing_evidence_is_named_and_never_a_pass(registry: Registry) -> None:
    lacking = without(registry.evidence[1], "audit", "explanation", "lineage")
    registry.register("lacking", registry.evidence[0], lacking)
    found = registry.review(registry.pair("lacking"))
    assert gate(found, "evidence").why == "Missing evidence: audit, explanation, lineage."
    assert [gate(found, name).outcome for name in ("evidence", "shortcuts", "leakage")] == ["hold"] * 3
    assert held(found)


def test_f40_a_version_registered_without_any_evidence_holds_and_still_gets_a_dossier(registry: Registry) -> None:
    registry.register("bare", registry.evidence[0], None)
    done = conduct_review(registry.collection.workspace, "bare", None, PLAN, "run")
    assert done.review.verdict == "HOLD"
    assert "predictions" in gate(done.review, "evidence").why


def test_f40_too_few_positives_hold(registry: Registry) -> None:
    pair = Pair(*_two(registry, "few", registry.evidence[0]), "")
    strict = {**recipe(), "review": {"minimum_positives": 100}}
    demanding = replace(pair.challenger, evidence=replace(pair.challenger.evidence, recipe=strict))
    found = registry.review(replace(pair, challenger=demanding))
    assert gate(found, "positives").outcome == "hold"
    assert "100 are asked for" in gate(found, "positives").why


def test_f40_a_champion_without_kept_predictions_reads_the_same_images_again(registry: Registry) -> None:
    registry.register("again", without(registry.evidence[0], "predictions"), registry.evidence[1])
    registry.register("kept", *registry.evidence)
    again, kept = registry.review(registry.pair("again")), registry.review(registry.pair("kept"))
    assert again.comparison is not None
    assert kept.comparison is not None
    assert again.comparison.rescored
    assert again.comparison.primary.judged.difference.value == pytest.approx(
        kept.comparison.primary.judged.difference.value, abs=1e-6
    )
    elsewhere = review(registry.pair("again"), PLAN, registry.collection.workspace.home / "nowhere")
    assert "the image store to read them again from is not here" in gate(elsewhere, "test_set").why


def test_f40_evidence_that_was_changed_in_the_artifact_store_is_refused(registry: Registry) -> None:
    registry.register("tampered", *registry.evidence)
    challenger = registry.pair("tampered").challenger
    shutil.rmtree(registry.collection.workspace.cache / "evidence")
    audits = [
        *(registry.collection.workspace.mlflow / "artifacts" / challenger.run_id).rglob("evidence/*/audit.json")
    ]
    contents = [audit.read_bytes() for audit in audits]
    try:
        for audit, content in zip(audits, contents, strict=True):
            audit.write_bytes(content.replace(b'"fail"', b'"pass"').replace(b'"warn"', b'"pass"') + b"\n")
        with pytest.raises(ModelGateError):
            registry.pair("tampered")
    finally:
        for audit, content in zip(audits, contents, strict=True):
            audit.write_bytes(content)


def _two(registry: Registry, name: str, of_champion: Evidence) -> tuple[Version, Version]:
    """Challenger and champion with other evidence than was registered."""
    registry.register(name, *registry.evidence)
    pair = registry.pair(name)
    assert pair.champion is not None
    return pair.challenger, replace(pair.champion, evidence=of_champion)
