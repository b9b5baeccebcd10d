"""The search for hyper-parameters: what it draws, what it keeps, what it may look at, and where its findings go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from timm.models import register_model
from torch import nn

from data_contracts.catalog import Catalog
from data_contracts.errors import DataGateError, ModelGateError, UsageProblem
from data_contracts.image_store import ImageStore
from data_contracts.workspace import Workspace
from models.registry.follow import tracking_store
from models.registry.follow_search import follow_search
from models.reports import page
from models.reports.search_section import search_section, search_sections
from models.training.search.candidate import search_candidate, with_findings
from models.training.search.importance import importance
from models.training.search.results import SearchResult, TrialRecord
from models.training.search.settings import Choice, SearchSettings, with_parameters
from models.training.search.study import Report, run_study
from models.training.settings import ArchitectureSettings, TrainingSettings

SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-4, "high": 1e-1},
    "options": {"drop_rate": {"low": 0.0, "high": 0.5}, "width": [32, 64]},
}
BEST_RATE = 1e-2


def settings(**changes: Any) -> SearchSettings:
    return SearchSettings.model_validate({"trials": 4, **SPACE, **changes})


def closeness(number: int, parameters: dict[str, Choice], report: Report) -> float:
    """Highest where the learning rate is right; two epochs to get there."""
    value = -abs(float(np.log10(float(parameters["learning_rate"]) / BEST_RATE)))
    report(1, value - 1)
    report(2, value)
    return value


def run(folder: Path, chosen: SearchSettings, train: Any = closeness) -> list[TrialRecord]:
    return run_study(folder, chosen, train, say=lambda line: None)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"trials": 51}, "less than or equal to 50"),
        ({"learning_rate": {"low": 0, "high": 1}}, "greater than 0"),
        ({"learning_rate": {"low": 0.1, "high": 0.1}}, "must be below high"),
        ({"options": {"width": [64]}}, "at least 2 items"),
        ({"options": {"width": [64, 64]}}, "names a choice twice"),
        ({"options": {"weight_decay": [1, 2]}}, "set it beside options"),
        ({"learning_rate": None, "options": {}}, "name at least one of"),
        ({"pruning": "median"}, "Extra inputs are not permitted"),
    ],
)
def test_a_search_that_cannot_be_meant_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(**wrong)


@pytest.mark.parametrize(
    ("search", "architecture", "words"),
    [
        ({"architectures": ["resnet18"]}, {}, "search names resnet18, which is not among"),
        ({}, {"learning_rate": 2e-3}, "1e-05 is below training.final_learning_rate 0.001"),
        ({"epochs": 2}, {"stages": [{"name": "joint", "epochs": 3}]}, "cannot shorten the stages of ae_cnn"),
    ],
)
def test_a_search_that_does_not_fit_the_recipe_is_refused(
    search: dict[str, Any], architecture: dict[str, Any], words: str
) -> None:
    training = TrainingSettings(learning_rate=1e-2, final_learning_rate=1e-3)
    chosen = settings(learning_rate={"low": 1e-5, "high": 1e-2}, **search)

    with pytest.raises(ValueError, match=words):
        chosen.check(training, [ArchitectureSettings.model_validate({"name": "ae_cnn", **architecture})])


def test_parameters_go_where_the_training_looks_for_them() -> None:
    own = ArchitectureSettings(name="stacked_cnn", options={"drop_rate": 0.3, "width": 64}, weight_decay=0.1)

    found = with_parameters(own, {"learning_rate": 0.01, "drop_rate": 0.1}, epochs=2)

    assert (found.learning_rate, found.weight_decay, found.epochs) == (0.01, 0.1, 2)
    assert found.options == {"drop_rate": 0.1, "width": 64}
    assert own.options["drop_rate"] == 0.3


def test_a_study_draws_from_its_ranges_and_the_same_again(tmp_path: Path) -> None:
    first, again = run(tmp_path / "a", settings()), run(tmp_path / "b", settings())
    other = run(tmp_path / "c", settings(seed=1))

    assert first == again
    assert [trial.number for trial in first] == [1, 2, 3, 4]
    assert len({trial.seed for trial in first}) == 4
    assert first[0].parameters != other[0].parameters
    for trial in first:
        assert 1e-4 <= float(trial.parameters["learning_rate"]) <= 1e-1
        assert 0 <= float(trial.parameters["drop_rate"]) <= 0.5
        assert trial.parameters["width"] in (32, 64)
        assert trial.curve == [pytest.approx((trial.value or 0) - 1), trial.value]


LONG = settings(trials=20, pruner="none")


@pytest.fixture(scope="module")
def long_study(tmp_path_factory: pytest.TempPathFactory) -> list[TrialRecord]:
    return run(tmp_path_factory.mktemp("long"), LONG)


def test_a_study_comes_closer_than_its_first_draws(long_study: list[TrialRecord]) -> None:
    values = [trial.value for trial in long_study if trial.value is not None]

    assert max(values[10:]) > max(values[:10])
    assert np.median(values[10:]) > np.median(values[:10])


def test_a_trial_below_the_median_of_the_earlier_ones_is_stopped(tmp_path: Path) -> None:
    def train(number: int, parameters: dict[str, Choice], report: Report) -> float:
        value = 0.5 if number > 5 else 0.9
        for epoch in range(1, 5):
            report(epoch, value)
        return value

    trials = run(tmp_path / "median", settings(trials=7), train)
    unstopped = run(tmp_path / "none", settings(trials=7, pruner="none"), train)

    assert [trial.state for trial in trials] == ["complete"] * 5 + ["pruned"] * 2
    assert trials[-1].value is None
    assert trials[-1].curve == [0.5, 0.5]
    assert {trial.state for trial in unstopped} == {"complete"}


def test_a_trial_that_diverges_is_kept_as_such_and_the_search_goes_on(tmp_path: Path) -> None:
    def train(number: int, parameters: dict[str, Choice], report: Report) -> float:
        if number == 1:
            raise ModelGateError("not finite", why="", cure="")
        return 0.7

    trials = run(tmp_path, settings(), train)

    assert [trial.state for trial in trials] == ["diverged", *["complete"] * 3]


def test_more_trials_later_continue_the_same_study(tmp_path: Path) -> None:
    trained: list[int] = []

    def counted(number: int, parameters: dict[str, Choice], report: Report) -> float:
        trained.append(number)
        return closeness(number, parameters, report)

    few = run(tmp_path, settings(trials=2), counted)
    more = run(tmp_path, settings(trials=5), counted)
    fewer = run(tmp_path, settings(trials=1), counted)

    assert trained == [1, 2, 3, 4, 5]
    assert more[:2] == few
    assert fewer == few[:1]


def test_no_trial_begins_after_the_time_is_up(tmp_path: Path) -> None:
    said: list[str] = []

    trials = run_study(tmp_path, settings(timeout_minutes=1e-9), closeness, say=said.append)

    assert len(trials) == 1
    assert said == ["the time of the search is up after 1 of 4 trials"]


def test_importance_names_the_parameter_that_decides(long_study: list[TrialRecord]) -> None:
    shares, reason = importance(long_study, LONG)

    assert reason == ""
    assert next(iter(shares)) == "learning_rate"
    assert sum(shares.values()) == pytest.approx(1, abs=2e-3)
    assert importance(long_study, LONG) == (shares, "")
    assert importance(long_study[:9], LONG) == ({}, "9 complete trials are fewer than 10")


# Real trainings of a small network, on noise that is brighter at the top or at the bottom.

SIZE = 32
SHAPED_BY: dict[str, Any] = {
    "name": "small",
    "task": "pneumonia-binary",
    "training": {"epochs": 5, "batch_size": 8, "final_learning_rate": 1e-6, "precision": "fp32"},
    "architecture": {"name": "simple_cnn"},
    "augmentation": {},
    "evaluation": {},
}
SEARCH = SearchSettings.model_validate(
    {
        "trials": 2,
        "epochs": 1,
        "learning_rate": {"low": 1e-4, "high": 1e-2},
        "options": {"drop_rate": {"low": 0.0, "high": 0.5}},
    }
)
SPLITS = ["train"] * 32 + ["val"] * 16 + ["test"] * 8


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def collected(folder: Path, test_levels: int = 0, **columns: Any) -> tuple[ImageStore, Catalog]:
    """Images with their catalog; test_levels: grey level that every test image has everywhere."""
    images = np.random.default_rng(0).integers(0, 90, (len(SPLITS), SIZE, SIZE)).astype(np.uint8)
    for row in range(len(SPLITS)):
        images[row, slice(0, 12) if row % 2 else slice(20, SIZE)] += 40
    images[48:] = test_levels
    count = len(SPLITS)
    frame = pd.DataFrame(
        {
            "source": "made",
            "file": [f"{row:03d}.png" for row in range(count)],
            "status": "kept",
            "row": range(count),
            "image_id": [f"{row:064x}" for row in range(count)],
            "label": ["normal", "pneumonia"] * (count // 2),
            "split": SPLITS,
        }
    ).assign(**columns)
    catalog = Catalog.of(frame)
    return ImageStore(folder, images, catalog, SIZE, content_hash="0" * 64), catalog


def searched(folder: Path, settings: SearchSettings = SEARCH, **changes: Any) -> SearchResult:
    store, catalog = changes.pop("data", None) or collected(folder)
    shaped_by = {**SHAPED_BY, **changes.pop("shaped_by", {})}
    return search_candidate(
        store, catalog, shaped_by, settings, folder / "study", say=lambda line: None, **changes
    )


def test_a_search_finds_parameters_and_hands_them_to_the_training(tmp_path: Path) -> None:
    result = searched(tmp_path)

    best = max(result.trials, key=lambda trial: trial.value or 0)
    assert result.best_trial == best
    assert result.parameters == best.parameters
    assert [len(trial.curve) for trial in result.trials] == [1, 1]
    assert all(trial.value == trial.curve[0] for trial in result.trials)
    assert [path.name for path in (tmp_path / "study").glob("trial-*")] == []
    assert SearchResult.model_validate_json(result.model_dump_json()) == result

    found = with_findings(SHAPED_BY, result)
    assert found["architecture"]["learning_rate"] == best.parameters["learning_rate"]
    assert found["architecture"]["options"] == {"drop_rate": best.parameters["drop_rate"]}
    assert found["training"] == SHAPED_BY["training"]


def test_a_search_never_looks_at_test_images(tmp_path: Path) -> None:
    usual = searched(tmp_path / "usual")
    other_pictures = searched(tmp_path / "pictures", data=collected(tmp_path, test_levels=255))
    other_labels = ["normal", "pneumonia"] * 24 + ["pneumonia"] * 8
    relabelled = searched(tmp_path / "labels", data=collected(tmp_path, label=other_labels))

    assert usual == other_pictures == relabelled


def test_a_search_by_balanced_accuracy_measures_that(tmp_path: Path) -> None:
    result = searched(tmp_path, metric="balanced_accuracy")

    # Sixteen validation images of two classes: eighths of a half.
    assert result.metric == "balanced_accuracy"
    assert all(float((trial.value or 0) * 16).is_integer() for trial in result.trials)


def test_a_search_is_refused_where_validation_cannot_rank_trials(tmp_path: Path) -> None:
    labels = [
        "normal" if split == "val" else label
        for split, label in zip(SPLITS, ["normal", "pneumonia"] * 28, strict=True)
    ]
    with pytest.raises(DataGateError, match="pneumonia"):
        searched(tmp_path, data=collected(tmp_path, label=labels))


def test_options_that_the_network_does_not_have_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    wrong = SearchSettings.model_validate({"trials": 2, "options": {"breadth": [1, 2]}})

    with pytest.raises(UsageProblem, match="breadth"):
        searched(tmp_path, wrong)
    assert not (tmp_path / "study").exists()


def test_weights_that_do_not_fit_are_no_diverged_trial(tmp_path: Path) -> None:
    torch.save({"foreign": torch.zeros(1)}, tmp_path / "other.pt")
    training = {**SHAPED_BY["training"], "init": f"file:{tmp_path / 'other.pt'}"}

    with pytest.raises(ModelGateError, match="do not belong to simple_cnn"):
        searched(tmp_path, shaped_by={"training": training})


def test_a_search_in_which_every_trial_diverges_says_so(tmp_path: Path) -> None:
    hopeless = SearchSettings.model_validate({"trials": 2, "learning_rate": {"low": 0.9, "high": 1.0}})
    training = {**SHAPED_BY["training"], "epochs": 2, "gradient_clip": None, "weight_decay": 1.0}

    with pytest.raises(ModelGateError, match="None of 2 trials"):
        searched(
            tmp_path,
            hopeless,
            shaped_by={"training": training, "architecture": {"name": "unstable_cnn", "cam_layer": "conv"}},
        )


@register_model
def unstable_cnn(pretrained: bool = False, **options: Any) -> nn.Module:
    """A network whose output overflows."""

    class Unstable(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(options["in_chans"], 4, 3)
            self.fc = nn.Linear(4, options["num_classes"])

        def get_classifier(self) -> nn.Module:
            return self.fc

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.fc(self.conv(images).amax((2, 3))).exp().exp().exp().exp()

    return Unstable()


def test_trials_are_runs_below_the_search_in_mlflow(tmp_path: Path) -> None:
    result = searched(tmp_path)
    workspace = Workspace(tmp_path / "home")
    workspace.create()

    with follow_search(workspace, "small-1", SHAPED_BY, SEARCH, "macro_auc") as followed:
        for trial in result.trials:
            followed.log_trial(trial)
        followed.seal(result)

    client = tracking_store(workspace).client
    runs = client.search_runs([client.get_experiment_by_name("small").experiment_id])
    by_role = {
        role: [run for run in runs if run.data.tags["lungline.role"] == role]
        for role in ("pipeline", "search", "trial")
    }
    (parent,), (search,) = by_role["pipeline"], by_role["search"]
    assert search.info.run_name == "search simple_cnn"
    assert search.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert search.data.metrics["best_macro_auc"] == result.best_trial.value
    assert {run.data.tags["mlflow.parentRunId"] for run in by_role["trial"]} == {search.info.run_id}
    assert {run.info.run_name for run in by_role["trial"]} == {"trial 01", "trial 02"}
    first = next(run for run in by_role["trial"] if run.info.run_name == "trial 01")
    assert float(first.data.params["drop_rate"]) == result.trials[0].parameters["drop_rate"]
    assert first.data.metrics["search_macro_auc"] == result.trials[0].value
    assert first.info.status == "FINISHED"


# What a reader sees of it.


def shown(**changes: Any) -> SearchResult:
    values = [0.81, None, 0.93, 0.90]
    states = ["complete", "pruned", "complete", "complete"]
    parameters: list[dict[str, Choice]] = [
        {"learning_rate": rate, "width": width}
        for rate, width in ((1e-4, 64), (2e-3, 32), (9.9e-3, 64), (5e-3, 64))
    ]
    trials = [
        TrialRecord.model_validate(
            {
                "number": number,
                "seed": number,
                "state": state,
                "parameters": own,
                "value": value,
                "curve": [0.7, value or 0.72],
            }
        )
        for number, (state, own, value) in enumerate(zip(states, parameters, values, strict=True), start=1)
    ]
    content: dict[str, Any] = {
        "architecture": "stacked_cnn",
        "metric": "macro_auc",
        "planned": 6,
        "trials": trials,
        "best": 3,
        "parameters": parameters[2],
        "ranges": {"learning_rate": (1e-4, 1e-2)},
        "importance_undefined": "3 complete trials are fewer than 10",
    }
    return SearchResult.model_validate({**content, **changes})


def test_the_report_lists_every_trial_and_says_what_to_doubt() -> None:
    section = search_section(shown())

    assert section.summary == "4 trials: 3 complete, 1 stopped early."
    assert section.chosen == [("learning_rate", "0.0099"), ("width", "64")]
    assert [trial.number for trial in section.trials if trial.best] == [3]
    assert section.remarks == [
        "The time was up before the other 2 trials could run.",
        "The best learning_rate lies at the high end of its range; better ones may lie beyond it.",
    ]
    assert search_section(shown()) == section


def test_the_plots_show_each_trial_once_and_the_best_apart() -> None:
    plots = dict(search_section(shown()).plots)

    assert list(plots) == ["trial by trial", "learning_rate", "width"]
    for plot in plots.values():
        assert (plot.count("<circle"), plot.count('class="dot validation"'), plot.count('class="badge"')) == (
            4,
            1,
            1,
        )
    assert ">3e-4<" in plots["learning_rate"]
    assert ">32<" in plots["width"]
    by_balanced = dict(search_section(shown(metric="balanced_accuracy")).plots)
    # What a stopped trial had reached is an AUC: another measure than the others' values.
    assert all(plot.count("<circle") == 3 for plot in by_balanced.values())


def test_the_page_escapes_what_a_recipe_may_name() -> None:
    environment = page._environment()
    template = environment.from_string('{% import "_search.html.j2" as s %}{{ s.section(searches) }}')

    html = template.render(searches=search_sections([shown(architecture="<b>net</b>")]))

    assert "<b>net</b>" not in html
    assert html.count("<tr") == 5
    assert "stopped: below the median" in html
