"""Gives every kept image its class in a task, or the reason why it has none."""

from __future__ import annotations

from data_contracts.catalog import KEPT, Catalog
from data_contracts.ontology import Projection, Task, split_nodes

CONFLICT = "copies of this picture carry different labels"


def assign_labels(catalog: Catalog, task: Task) -> Catalog:
    """Fill `label` and `excluded` of the kept rows. A label conflict excludes the image until a person decides."""
    frame = catalog.frame.copy()
    projections = [
        _project(task, str(row.nodes), bool(row.label_conflict)) if row.status == KEPT else Projection()
        for row in frame.itertuples()
    ]
    frame["label"] = [projection.label for projection in projections]
    frame["excluded"] = [projection.excluded for projection in projections]
    return Catalog.of(frame)


def _project(task: Task, nodes: str, conflict: bool) -> Projection:
    return Projection(excluded=CONFLICT) if conflict else task.project(split_nodes(nodes))
