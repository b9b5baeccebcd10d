"""What a label asserts, what follows from it, and what a task makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.errors import UsageProblem
from data_contracts.ontology import PARENT, TASKS, ancestors, implied, join_nodes, split_nodes, task_named

FOUR_CLASSES = TASKS["covid-bacterial-pneumothorax-normal"]
label_sets = st.sets(st.sampled_from(sorted(PARENT)), max_size=5)


def test_covid19_implies_viral_pneumonia_and_abnormal() -> None:
    assert implied(["covid19"]) == {"covid19", "viral", "pneumonia", "abnormal"}


def test_every_node_hangs_from_the_root() -> None:
    assert all(ancestors(node)[-1:] in ([], ["abnormal"]) for node in PARENT)


@given(nodes=label_sets)
def test_nodes_survive_the_catalog_cell(nodes: set[str]) -> None:
    assert split_nodes(join_nodes(nodes)) == sorted(nodes)


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
@given(nodes=label_sets)
def test_a_projection_is_either_a_class_or_a_named_exclusion(task: object, nodes: set[str]) -> None:
    projection = task.project(nodes)  # type: ignore[attr-defined]
    assert bool(projection.label) != bool(projection.excluded)


@given(nodes=label_sets)
def test_what_follows_from_a_label_changes_no_projection_to_another_class(nodes: set[str]) -> None:
    projected, closed = FOUR_CLASSES.project(nodes), FOUR_CLASSES.project(implied(nodes))
    assert closed.label == projected.label


@pytest.mark.parametrize(
    ("nodes", "label"),
    [
        (["covid19"], "covid19"),
        (["bacterial"], "bacterial"),
        (["no_finding"], "normal"),
        (["pneumothorax"], "pneumothorax"),
        (["pneumothorax", "effusion"], "pneumothorax"),
        # An unspecified pneumonia beside it is not known to be bacterial, and the pneumothorax is asserted.
        (["pneumothorax", "pneumonia"], "pneumothorax"),
    ],
)
def test_four_class_labels(nodes: list[str], label: str) -> None:
    assert FOUR_CLASSES.project(nodes).label == label


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([], "no known label"),
        (["bacterial", "pneumothorax"], "several classes at once: bacterial, pneumothorax"),
        (["pneumonia"], "label too general to tell whether: bacterial, covid19"),
        (["viral"], "label too general to tell whether: covid19"),
        (["other_viral"], "no class of this task: other_viral"),
        (["opacity"], "no class of this task: opacity"),
    ],
)
def test_images_without_a_class_say_why(nodes: list[str], reason: str) -> None:
    assert FOUR_CLASSES.project(nodes).excluded == reason


def test_an_unknown_task_names_the_known_ones() -> None:
    with pytest.raises(UsageProblem, match="covid-bacterial-pneumothorax-normal"):
        task_named("five-class")
