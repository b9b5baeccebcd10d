"""Recipes are read strictly: what a person misspells is named, with what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from data_contracts.errors import UsageProblem
from pipelines.recipe import load_recipe, recipe_names

MINIMAL = {
    "name": "mine",
    "title": "Mine",
    "task": "covid-bacterial-pneumothorax-normal",
    "sources": ["nih"],
    "training": {"epochs": 1},
    "architectures": [{"name": "simple_cnn"}],
}


def written(tmp_path: Path, **changes: object) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({**MINIMAL, **changes}), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_that_comes_with_lungline_loads_and_says_what_it_is(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    text = (Path(__file__).parents[2] / "pipelines" / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# ")


def test_a_misspelt_key_is_named_with_its_file_value_and_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem) as caught:
        load_recipe(written(tmp_path, training={"epoch": 3}))
    assert "mine.yaml: training.epoch = 3" in caught.value.what
    assert "did you mean 'epochs'?" in caught.value.what
    assert "learning_rate" in caught.value.cure


def test_a_misspelt_key_in_a_list_is_found_too(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match=r"architectures\.0\.nme = 'resnet50'"):
        load_recipe(written(tmp_path, architectures=[{"nme": "resnet50"}]))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task": "lungs"}, "allowed: covid-bacterial-pneumothorax-normal"),
        ({"sources": ["nhi"]}, "unknown nhi; allowed: radiography, mendeley, nih"),
        ({"sources": []}, "sources"),
        ({"training": {"epochs": 0}}, "training.epochs = 0"),
        ({"split": {"train": 0.9, "val": 0.2, "test": 0.1}}, "split"),
        ({"architectures": [{"name": "simple_cnn"}] * 2}, "named twice"),
        ({"architectures": [{"name": "simple_cnn", "learning_rate": 1.0e-9}]}, "learning_rate"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageProblem, match=r"mine\.yaml") as caught:
        load_recipe(written(tmp_path, **changes))
    assert said in caught.value.what


def test_an_unknown_recipe_names_the_nearest_and_all() -> None:
    with pytest.raises(UsageProblem, match="did you mean 'quickstart'") as caught:
        load_recipe("quickstrat")
    assert "merged" in caught.value.cure


@pytest.mark.parametrize("content", ["- a list\n", "key: [unclosed\n", "\ttabs: 1\n"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageProblem, match=r"broken\.yaml"):
        load_recipe(str(path))


def test_values_set_on_the_command_line_are_read_as_yaml(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path), ["training.epochs=3", "images.size=64", "split.seed=9"])
    assert (recipe.training.epochs, recipe.images.size, recipe.split.seed) == (3, 64, 9)


@pytest.mark.parametrize("override", ["training.epochs", "=3", "title.short=3", "training.epoch=3"])
def test_a_setting_that_hits_nothing_is_refused(tmp_path: Path, override: str) -> None:
    with pytest.raises(UsageProblem):
        load_recipe(written(tmp_path), [override])


def test_only_what_shapes_the_weights_makes_a_training_another_one(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path))
    shaped = recipe.what_shapes(recipe.architectures[0])
    explained = load_recipe(written(tmp_path), ["explanation.examples_per_class=9", "title=Other"])
    assert explained.what_shapes(explained.architectures[0]) == shaped
    longer = load_recipe(written(tmp_path), ["training.epochs=2"])
    assert longer.what_shapes(longer.architectures[0]) != shaped
