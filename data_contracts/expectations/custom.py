"""Expectations about catalogs that Great Expectations does not bring along.

Importing this module imports Great Expectations; only the runner does so.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from great_expectations.execution_engine.pandas_execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import ColumnMapExpectation, MulticolumnMapExpectation
from great_expectations.expectations.metrics.map_metric_provider.column_condition_partial import (
    column_condition_partial,
)
from great_expectations.expectations.metrics.map_metric_provider.column_map_metric_provider import (
    ColumnMapMetricProvider,
)
from great_expectations.expectations.metrics.map_metric_provider.multicolumn_condition_partial import (
    multicolumn_condition_partial,
)
from great_expectations.expectations.metrics.map_metric_provider.multicolumn_map_metric_provider import (
    MulticolumnMapMetricProvider,
)

from data_contracts.ontology import PARENT, join_nodes, split_nodes


def is_consistent(cell: str) -> bool:
    """Whether a `nodes` cell is as `join_nodes` writes it, of known nodes, and not normal and ill at once."""
    nodes = split_nodes(cell)
    known = all(node in PARENT for node in nodes)
    contradictory = "no_finding" in nodes and len(nodes) > 1
    return known and not contradictory and cell == join_nodes(nodes)


class ConsistentNodes(ColumnMapMetricProvider):
    condition_metric_name = "column_values.consistent_nodes"

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series[str], **_: Any) -> pd.Series[bool]:  # noqa: N805
        return column.map({cell: is_consistent(cell) for cell in column.unique()}).astype(bool)


class ExpectConsistentNodes(ColumnMapExpectation):
    """Expect each value of the column to be a consistent set of ontology nodes, joined by "|"."""

    map_metric = "column_values.consistent_nodes"


class GroupInOneSplit(MulticolumnMapMetricProvider):
    condition_metric_name = "multicolumn_values.group_in_one_split"

    @multicolumn_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column_list: pd.DataFrame, **_: Any) -> pd.Series[bool]:  # noqa: N805
        group = column_list.iloc[:, 0]
        pairs = column_list.drop_duplicates()
        times = pairs.iloc[:, 0].value_counts()
        return ~group.isin(times.index[times > 1]) | (group == "")


class ExpectGroupInOneSplit(MulticolumnMapExpectation):
    """Expect rows that share a value of the first column to share their value of the second.

    column_list: the group's column, then the split's. Rows whose group is "" are not compared. Every row of a
    group that straddles is unexpected, so that both sides of the leak are named.
    """

    map_metric = "multicolumn_values.group_in_one_split"
