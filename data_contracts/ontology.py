"""The label ontology: what a source's label asserts, what follows from it, and what a task makes of it.

A node asserted positive makes its ancestors positive and says nothing of its children: unknown is not negative.
A single-label task gives an image one class or none; a multi-label task says of each class whether it is there,
not there, or unknown.
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


# A multi-label cell with no positive class. It must differ from "", which stands for an image without a label.
NO_CLASS = "none"

# How labels were made -> what is not named counts as absent. The NIH labels were mined from whole reports, so an
# unnamed finding is a weak negative; a folder names one finding and is silent about all others.
NAMES_EVERY_FINDING = frozenset({"report-nlp"})


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


def join_classes(classes: Iterable[str]) -> str:
    """Positive classes of a multi-label task, in the order given, as the catalog's `label` column holds them."""
    return "|".join(classes) or NO_CLASS


def split_classes(cell: str) -> list[str]:
    """The classes a `label` or `unknown_classes` cell names; of a single-label task the one class. "" and none: []."""
    return [] if cell == NO_CLASS else [name for name in cell.split("|") if name]


def most_specific(positives: Iterable[str]) -> frozenset[str]:
    """The asserted nodes that no other asserted node implies; the same for a set and for what it implies."""
    asserted = frozenset(positives)
    return asserted.difference(*(ancestors(node) for node in asserted))


@dataclass(frozen=True, slots=True)
class TaskClass:
    """One class of a task: positive where a node of `nodes` is positive.

    A node of `unspecified` counts only where nothing below it is asserted: a pneumonia whose cause nobody named.
    """

    name: str
    title: str
    nodes: tuple[str, ...]
    unspecified: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Projection:
    """What a task makes of one image: a label, or the reason it has none. Exactly one of the two is not empty.

    label: a class name; in a multi-label task the positive classes as `join_classes` writes them. unknown: the
    classes of a multi-label task that may or may not be there, in task order; every other class is negative.
    """

    label: str = ""
    excluded: str = ""
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    """A classification task over the ontology; class order is output order.

    A task of two exclusive classes lists the negative one first. multi_label: any number of classes may be true.
    """

    name: str
    title: str
    classes: tuple[TaskClass, ...]
    multi_label: bool = False

    @property
    def class_names(self) -> list[str]:
        return [task_class.name for task_class in self.classes]

    def project(self, positives: Iterable[str], label_method: str = "") -> Projection:
        """Map asserted nodes to a label or a named exclusion; total over every set of known nodes.

        label_method: as in the Catalog; it decides whether a multi-label task takes silence for absence. What
        follows from the asserted nodes may be added to them without changing the label.
        """
        asserted = frozenset(positives)
        if not asserted:
            return Projection(excluded="no known label")
        if "no_finding" in asserted and len(asserted) > 1:
            return Projection(excluded="contradictory label: no_finding together with a finding")
        positive, specific = implied(asserted), most_specific(asserted)
        hits = [
            c.name for c in self.classes if positive.intersection(c.nodes) or specific.intersection(c.unspecified)
        ]
        # A positive parent without the child: an unspecified pneumonia may or may not be bacterial.
        undecided = [
            c.name for c in self.classes if any(specific.intersection(ancestors(node)) for node in c.nodes)
        ]
        if self.multi_label:
            return self._findings(hits, undecided, asserted, label_method)
        return _one_class(hits, undecided, asserted)

    def _findings(
        self, hits: list[str], undecided: list[str], asserted: frozenset[str], label_method: str
    ) -> Projection:
        """Each class positive, unknown or negative. An image of which nothing is known is excluded."""
        if "no_finding" in asserted:
            unknown = set[str]()
        elif label_method in NAMES_EVERY_FINDING:
            unknown = set(undecided)
        else:
            unknown = set(self.class_names)
        unknown.difference_update(hits)
        if len(unknown) == len(self.classes):
            return Projection(excluded="no class of this task is known: " + ", ".join(sorted(asserted)))
        return Projection(label=join_classes(hits), unknown=tuple(n for n in self.class_names if n in unknown))


def _one_class(hits: list[str], undecided: list[str], asserted: frozenset[str]) -> Projection:
    """The one class that is hit. Two at once exclude the image; an undecided one does so where none is hit."""
    if len(hits) == 1:
        return Projection(label=hits[0])
    if len(hits) > 1:
        return Projection(excluded="several classes at once: " + ", ".join(hits))
    if undecided:
        return Projection(excluded="label too general to tell whether: " + ", ".join(undecided))
    return Projection(excluded="no class of this task: " + ", ".join(sorted(asserted)))


BACTERIAL = TaskClass("bacterial", "Bacterial pneumonia", ("bacterial",))
COVID19 = TaskClass("covid19", "COVID-19", ("covid19",))
NORMAL = TaskClass("normal", "Normal", ("no_finding",))
OPACITY = TaskClass("opacity", "Lung opacity", ("opacity",))
OTHER_VIRAL = TaskClass("other_viral", "Other viral pneumonia", ("other_viral",))
PNEUMOTHORAX = TaskClass("pneumothorax", "Pneumothorax", ("pneumothorax",))

# The findings of NIH ChestX-ray14 in the order of its paper (Wang et al. 2017), which published results follow.
NIH_FINDINGS = (
    "atelectasis",
    "cardiomegaly",
    "effusion",
    "infiltration",
    "mass",
    "nodule",
    "pneumonia",
    "pneumothorax",
    "consolidation",
    "edema",
    "emphysema",
    "fibrosis",
    "pleural_thickening",
    "hernia",
)

# Pneumonias whose named cause is not COVID-19.
OTHER_CAUSES = ("bacterial", "fungal", "other_viral")

TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            Task(
                name="covid-bacterial-pneumothorax-normal",
                title="COVID-19, bacterial pneumonia, pneumothorax or normal",
                classes=(BACTERIAL, COVID19, NORMAL, PNEUMOTHORAX),
            ),
            # Not COVID-19 is what a label excludes: no finding, or a pneumonia of another cause. An opacity or a
            # pneumonia without a cause may be COVID-19 and has no class here.
            Task(
                name="covid-binary",
                title="COVID-19 or not",
                classes=(TaskClass("not_covid19", "Not COVID-19", ("no_finding", *OTHER_CAUSES)), COVID19),
            ),
            # Three-class collections set "pneumonia" against COVID-19 without naming its cause, so an unspecified
            # one belongs to the class; a viral one that may be COVID-19 does not.
            Task(
                name="covid-pneumonia-normal",
                title="COVID-19, other pneumonia or normal",
                classes=(COVID19, NORMAL, TaskClass("pneumonia", "Other pneumonia", OTHER_CAUSES, ("pneumonia",))),
            ),
            Task(
                name="radiography-four-class",
                title="COVID-19, lung opacity, other viral pneumonia or normal",
                classes=(COVID19, NORMAL, OPACITY, OTHER_VIRAL),
            ),
            Task(
                name="pneumonia-binary",
                title="Pneumonia of any cause or normal",
                classes=(NORMAL, TaskClass("pneumonia", "Pneumonia", ("pneumonia",))),
            ),
            Task(
                name="nih-14",
                title="Fourteen findings, any number of them at once",
                classes=tuple(
                    TaskClass(node, node.capitalize().replace("_", " "), (node,)) for node in NIH_FINDINGS
                ),
                multi_label=True,
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
