"""What a label asserts, what follows from it, and what a task makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_contracts.errors import UsageProblem
from data_contracts.ontology import (
    NIH_FINDINGS,
    NO_CLASS,
    OTHER_CAUSES,
    PARENT,
    TASKS,
    Projection,
    Task,
    TaskClass,
    ancestors,
    implied,
    join_classes,
    join_nodes,
    most_specific,
    split_classes,
    split_nodes,
    task_named,
)

FOUR_CLASSES = TASKS["covid-bacterial-pneumothorax-normal"]
COVID_BINARY = TASKS["covid-binary"]
THREE_CLASSES = TASKS["covid-pneumonia-normal"]
RADIOGRAPHY = TASKS["radiography-four-class"]
PNEUMONIA_BINARY = TASKS["pneumonia-binary"]
NIH_14 = TASKS["nih-14"]
label_sets = st.sets(st.sampled_from(sorted(PARENT)), max_size=5)
label_methods = st.sampled_from(["", "folder", "report-nlp"])


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
@given(nodes=label_sets, method=label_methods)
def test_a_projection_is_either_a_label_or_a_named_exclusion(task: Task, nodes: set[str], method: str) -> None:
    projection = task.project(nodes, method)
    assert bool(projection.label) != bool(projection.excluded)
    named = split_classes(projection.label)
    assert set(named) <= set(task.class_names)
    if task.multi_label:
        assert projection.label in {"", join_classes(name for name in task.class_names if name in named)}
        assert list(projection.unknown) == [name for name in task.class_names if name in projection.unknown]
        assert not set(projection.unknown) & set(named)
        assert len(projection.unknown) < len(task.classes)
    else:
        assert projection.label in {"", *task.class_names}
        assert projection.unknown == ()


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
@given(nodes=label_sets, method=label_methods)
def test_what_follows_from_a_label_changes_nothing_of_its_projection(
    task: Task, nodes: set[str], method: str
) -> None:
    added, asserted = task.project(implied(nodes), method), task.project(nodes, method)
    assert (added.label, added.unknown) == (asserted.label, asserted.unknown)


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


def _state(projection: Projection, name: str) -> int | None:
    """1 positive, 0 negative, -1 unknown; None where the image is excluded."""
    if projection.excluded:
        return None
    return 1 if name in split_classes(projection.label) else -1 if name in projection.unknown else 0


def test_the_nih_task_has_the_fourteen_findings_in_the_order_of_the_paper() -> None:
    assert NIH_14.multi_label
    assert NIH_14.class_names == list(NIH_FINDINGS)
    assert (NIH_14.class_names[0], NIH_14.class_names[-1], len(NIH_14.classes)) == ("atelectasis", "hernia", 14)
    assert NIH_14.classes[12].title == "Pleural thickening"


@given(method=label_methods)
def test_no_finding_is_negative_everywhere(method: str) -> None:
    assert NIH_14.project(["no_finding"], method) == Projection(label=NO_CLASS)


@given(nodes=st.sets(st.sampled_from(NIH_FINDINGS), min_size=1))
def test_a_finding_the_reports_do_not_name_is_a_weak_negative(nodes: set[str]) -> None:
    projection = NIH_14.project(nodes, "report-nlp")
    assert projection == Projection(label="|".join(name for name in NIH_FINDINGS if name in nodes))


@given(nodes=label_sets, name=st.sampled_from(NIH_FINDINGS))
def test_what_a_folder_does_not_name_is_unknown_and_never_negative(nodes: set[str], name: str) -> None:
    projection = NIH_14.project(nodes, "folder")
    if "no_finding" not in nodes and not projection.excluded:
        assert _state(projection, name) == (1 if name in implied(nodes) else -1)


@pytest.mark.parametrize("parent", sorted({above for name in NIH_FINDINGS for above in ancestors(name)}))
@pytest.mark.parametrize("method", ["folder", "report-nlp"])
def test_children_of_a_positive_parent_are_unknown(parent: str, method: str) -> None:
    children = {name for name in NIH_FINDINGS if parent in ancestors(name)}
    projection = NIH_14.project([parent], method)
    states = {_state(projection, name) for name in children}
    assert states == ({None} if projection.excluded else {-1})
    # Where one child is named, the parent says no more than that child does.
    child = min(children)
    assert NIH_14.project([parent, child], method) == NIH_14.project([child], method)


@given(nodes=label_sets, method=label_methods)
def test_a_childs_positive_makes_a_class_of_its_ancestor_positive(nodes: set[str], method: str) -> None:
    broad = Task("t", "t", tuple(TaskClass(name, name, (name,)) for name in ("pneumonia", "opacity")), True)
    projection = broad.project(nodes, method)
    for name in broad.class_names:
        if not projection.excluded and name in implied(nodes):
            assert _state(projection, name) == 1


@given(nodes=label_sets, method=label_methods)
def test_pneumonia_or_not_and_the_fourteen_findings_agree_where_both_are_defined(
    nodes: set[str], method: str
) -> None:
    binary = PNEUMONIA_BINARY.project(nodes, method).label
    state = _state(NIH_14.project(nodes, method), "pneumonia")
    if binary and state in (0, 1):
        assert (binary == "pneumonia") == bool(state)


@pytest.mark.parametrize(
    ("nodes", "method", "label", "unknown"),
    [
        (["effusion", "atelectasis"], "report-nlp", "atelectasis|effusion", 0),
        (["bacterial"], "folder", "pneumonia", 13),
        (["covid19"], "report-nlp", "pneumonia", 0),
        (["opacity"], "report-nlp", "none", 4),
        (["no_finding"], "folder", "none", 0),
        (["opacity"], "folder", "", 0),
    ],
)
def test_fourteen_finding_labels(nodes: list[str], method: str, label: str, unknown: int) -> None:
    projection = NIH_14.project(nodes, method)
    assert (projection.label, len(projection.unknown)) == (label, unknown)


def test_an_image_of_which_nothing_is_known_says_why() -> None:
    assert NIH_14.project(["opacity"], "folder").excluded == "no class of this task is known: opacity"


@given(names=st.lists(st.sampled_from(NIH_FINDINGS), unique=True))
def test_positive_classes_survive_the_label_cell(names: list[str]) -> None:
    assert split_classes(join_classes(names)) == names
    assert split_classes("") == []


def test_an_unknown_task_names_the_known_ones() -> None:
    with pytest.raises(UsageProblem, match="covid-bacterial-pneumothorax-normal"):
        task_named("five-class")
