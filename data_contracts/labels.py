"""Gives every kept image its label in a task, or the reason why it has none."""

from __future__ import annotations

from functools import cache

from data_contracts.catalog import KEPT, Catalog
from data_contracts.ontology import Projection, Task, split_nodes

CONFLICT = "copies of this picture carry different labels"


def assign_labels(catalog: Catalog, task: Task) -> Catalog:
    """Fill `label`, `unknown_classes` and `excluded` of the kept rows.

    A label conflict excludes the image until a person decides.
    """

    # A dataset repeats few distinct labels over many images; each is projected once.
    @cache
    def project(status: str, nodes: str, label_method: str, conflict: bool) -> Projection:
        if status != KEPT:
            return Projection()
        return Projection(excluded=CONFLICT) if conflict else task.project(split_nodes(nodes), label_method)

    frame = catalog.frame
    columns = (frame[name].tolist() for name in ("status", "nodes", "label_method", "label_conflict"))
    projections = [project(*cells) for cells in zip(*columns, strict=True)]
    return Catalog.of(
        frame.assign(
            label=[projection.label for projection in projections],
            unknown_classes=["|".join(projection.unknown) for projection in projections],
            excluded=[projection.excluded for projection in projections],
        )
    )
