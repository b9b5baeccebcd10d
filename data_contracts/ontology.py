"""The label ontology: what a source's label asserts, what follows from it, and what a task makes of it.

A node asserted positive makes its ancestors positive and says nothing of its children: unknown is not negative.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from data_contracts.errors import UsageProblem

# node -> parent. The tree follows the adult chest radiograph findings the six public sources name.
PARENT: Mapping[str, str] = MappingProxyType(
    {
        "no_finding": "root",
        "abnormal": "root",
        "pneumonia": "abnormal",
        "viral": "pneumonia",
        "covid19": "viral",
        "other_viral": "viral",  # viral and known not to be COVID-19: influenza, SARS, films from before 2020
        "bacterial": "pneumonia",
        "fungal": "pneumonia",
        "opacity": "abnormal",
        "consolidation": "opacity",
        "infiltration": "opacity",
        "edema": "opacity",
        "atelectasis": "opacity",
        "pneumothorax": "abnormal",
        "pleural": "abnormal",
        "effusion": "pleural",
        "pleural_thickening": "pleural",
        "focal": "abnormal",
        "mass": "focal",
        "nodule": "focal",
        "chronic": "abnormal",
        "emphysema": "chronic",
        "fibrosis": "chronic",
        "other": "abnormal",
        "cardiomegaly": "other",
        "hernia": "other",
    }
)


def ancestors(node: str) -> list[str]:
    """The nodes above `node`, nearest first, without the root. Raises KeyError for an unknown node."""
    above = []
    parent = PARENT[node]
    while parent != "root":
        above.append(parent)
        parent = PARENT[parent]
    return above


def implied(positives: Iterable[str]) -> frozenset[str]:
    """The asserted nodes with everything they imply."""
    closed: set[str] = set()
    for node in positives:
        closed.add(node)
        closed.update(ancestors(node))
    return frozenset(closed)


def join_nodes(nodes: Iterable[str]) -> str:
    """Nodes as the catalog's `nodes` column holds them."""
    return "|".join(sorted(set(nodes)))


def split_nodes(cell: str) -> list[str]:
    """The inverse of `join_nodes`."""
    return [node for node in cell.split("|") if node]


@dataclass(frozen=True, slots=True)
class TaskClass:
    """One class of a task: positive where `node` is positive and no node of `without` is."""

    name: str
    title: str
    node: str
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Projection:
    """What a task makes of one image: a class name, or the reason it has none. Exactly one is not empty."""

    label: str = ""
    excluded: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """A single-label classification task over the ontology; class order is output order."""

    name: str
    title: str
    classes: tuple[TaskClass, ...]

    @property
    def class_names(self) -> list[str]:
        return [task_class.name for task_class in self.classes]

    def project(self, positives: Iterable[str]) -> Projection:
        """Map asserted nodes to one class or a named exclusion; total over every set of known nodes.

        Two classes at once exclude the image. So does a positive parent of a class node without the child (an
        unspecified pneumonia may or may not be bacterial), unless another class is positive on its own.
        """
        asserted = frozenset(positives)
        positive = implied(asserted)
        hits = [
            task_class.name
            for task_class in self.classes
            if task_class.node in positive and not positive.intersection(task_class.without)
        ]
        if len(hits) == 1:
            return Projection(label=hits[0])
        if len(hits) > 1:
            return Projection(excluded="several classes at once: " + ", ".join(hits))
        if not asserted:
            return Projection(excluded="no known label")
        undecided = [c.name for c in self.classes if asserted.intersection(ancestors(c.node))]
        if undecided:
            return Projection(excluded="label too general to tell whether: " + ", ".join(undecided))
        return Projection(excluded="no class of this task: " + ", ".join(sorted(asserted)))


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            Task(
                name="covid-bacterial-pneumothorax-normal",
                title="COVID-19, bacterial pneumonia, pneumothorax or normal",
                classes=(
                    TaskClass("bacterial", "Bacterial pneumonia", "bacterial"),
                    TaskClass("covid19", "COVID-19", "covid19"),
                    TaskClass("normal", "Normal", "no_finding"),
                    TaskClass("pneumothorax", "Pneumothorax", "pneumothorax"),
                ),
            ),
        )
    }
)


def task_named(name: str) -> Task:
    """The task called `name`. Raises UsageProblem naming the known ones."""
    if name not in TASKS:
        raise UsageProblem(
            f"There is no task called {name!r}.",
            why="The task decides which label each image gets.",
            cure="Use one of: " + ", ".join(TASKS) + ".",
        )
    return TASKS[name]
