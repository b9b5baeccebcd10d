"""What a label asserts, what follows from it, and what a task makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.errors import UsageProblem
from data_contracts.ontology import (
    OTHER_CAUSES,
    PARENT,
    TASKS,
    Task,
    ancestors,
    implied,
    join_nodes,
    most_specific,
    split_nodes,
    task_named,
)

FOUR_CLASSES = TASKS["covid-bacterial-pneumothorax-normal"]
COVID_BINARY = TASKS["covid-binary"]
THREE_CLASSES = TASKS["covid-pneumonia-normal"]
RADIOGRAPHY = TASKS["radiography-four-class"]
PNEUMONIA_BINARY = TASKS["pneumonia-binary"]
label_sets = st.sets(st.sampled_from(sorted(PARENT)), max_size=5)


def test_covid19_implies_viral_pneumonia_and_abnormal() -> None:
    assert implied(["covid19"]) == {"covid19", "viral", "pneumonia", "abnormal"}


def test_every_node_hangs_from_the_root() -> None:
    assert all(ancestors(node)[-1:] in ([], ["abnormal"]) for node in PARENT)


@given(nodes=label_sets)
def test_nodes_survive_the_catalog_cell(nodes: set[str]) -> None:
    assert split_nodes(join_nodes(nodes)) == sorted(nodes)


@given(nodes=label_sets)
def test_what_is_most_specific_does_not_depend_on_what_follows_from_it(nodes: set[str]) -> None:
    assert most_specific(nodes) == most_specific(implied(nodes))
    assert implied(most_specific(nodes)) == implied(nodes)


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
@given(nodes=label_sets)
def test_a_projection_is_either_a_class_or_a_named_exclusion(task: Task, nodes: set[str]) -> None:
    projection = task.project(nodes)
    assert bool(projection.label) != bool(projection.excluded)
    assert projection.label in {"", *task.class_names}


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
@given(nodes=label_sets)
def test_what_follows_from_a_label_changes_no_projection_to_another_class(task: Task, nodes: set[str]) -> None:
    assert task.project(implied(nodes)).label == task.project(nodes).label


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
@given(nodes=label_sets)
def test_no_finding_together_with_a_finding_has_no_class(task: Task, nodes: set[str]) -> None:
    assert task.project({"no_finding", "mass", *nodes}).label == ""


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_class_names_are_distinct_and_their_nodes_known(task: Task) -> None:
    assert len(set(task.class_names)) == len(task.classes)
    assert all({*c.nodes, *c.unspecified} <= PARENT.keys() for c in task.classes)


@given(nodes=label_sets)
def test_pneumonia_or_not_and_the_three_classes_agree_where_both_are_defined(nodes: set[str]) -> None:
    binary, three = PNEUMONIA_BINARY.project(nodes).label, THREE_CLASSES.project(nodes).label
    if binary and three:
        assert {"covid19": "pneumonia"}.get(three, three) == binary


@given(nodes=label_sets)
def test_covid_or_not_and_the_three_classes_agree_where_both_are_defined(nodes: set[str]) -> None:
    binary, three = COVID_BINARY.project(nodes).label, THREE_CLASSES.project(nodes).label
    if binary and three:
        assert (binary == "covid19") == (three == "covid19")


@given(nodes=st.sets(st.sampled_from(sorted(PARENT.keys() - {"no_finding", *OTHER_CAUSES})), max_size=5))
def test_unknown_is_never_negative(nodes: set[str]) -> None:
    """Without a label that excludes COVID-19 no image counts as free of it, whatever else it shows."""
    assert COVID_BINARY.project(nodes).label in ("", "covid19")
    assert PNEUMONIA_BINARY.project(nodes).label in ("", "pneumonia")


@given(nodes=label_sets)
def test_an_image_is_covid19_only_where_that_was_asserted(nodes: set[str]) -> None:
    if "covid19" not in nodes:
        assert all(task.project(nodes).label != "covid19" for task in TASKS.values())


@pytest.mark.parametrize(
    ("node", "labels"),
    [
        # covid-binary, covid-pneumonia-normal, radiography-four-class, pneumonia-binary
        ("covid19", ("covid19", "covid19", "covid19", "pneumonia")),
        ("no_finding", ("not_covid19", "normal", "normal", "normal")),
        ("other_viral", ("not_covid19", "pneumonia", "other_viral", "pneumonia")),
        ("bacterial", ("not_covid19", "pneumonia", "", "pneumonia")),
        ("fungal", ("not_covid19", "pneumonia", "", "pneumonia")),
        ("pneumonia", ("", "pneumonia", "", "pneumonia")),
        ("viral", ("", "", "", "pneumonia")),
        ("opacity", ("", "", "opacity", "")),
        ("consolidation", ("", "", "opacity", "")),
        ("pneumothorax", ("", "", "", "")),
    ],
)
def test_every_task_gives_a_finding_its_class(node: str, labels: tuple[str, ...]) -> None:
    tasks = (COVID_BINARY, THREE_CLASSES, RADIOGRAPHY, PNEUMONIA_BINARY)
    assert tuple(task.project([node]).label for task in tasks) == labels


@pytest.mark.parametrize(
    ("task", "nodes", "reason"),
    [
        (COVID_BINARY, ["pneumonia"], "label too general to tell whether: not_covid19, covid19"),
        (COVID_BINARY, ["opacity"], "no class of this task: opacity"),
        (COVID_BINARY, ["covid19", "bacterial"], "several classes at once: not_covid19, covid19"),
        (THREE_CLASSES, ["viral"], "label too general to tell whether: covid19, pneumonia"),
        (THREE_CLASSES, ["opacity"], "no class of this task: opacity"),
        (RADIOGRAPHY, ["pneumonia"], "label too general to tell whether: covid19, other_viral"),
        (PNEUMONIA_BINARY, ["abnormal"], "label too general to tell whether: pneumonia"),
    ],
)
def test_what_a_label_leaves_open_is_said(task: Task, nodes: list[str], reason: str) -> None:
    assert task.project(nodes).excluded == reason


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
