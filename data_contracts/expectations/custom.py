"""Expectations about radiographs and their labels that Great Expectations does not bring along.

Importing this module imports Great Expectations; only the runner does so. Each pair is a metric, which says of
every row whether it is as expected, and the expectation that suite files name.
"""

from __future__ import annotations

from typing import Any

import numpy as np
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

from data_contracts.ontology import PARENT, join_nodes, split_classes, split_nodes


class KnownNodes(ColumnMapMetricProvider):
    condition_metric_name = "column_values.known_nodes"

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series[str], **_: Any) -> pd.Series[bool]:  # noqa: N805
        known = {
            cell: cell == join_nodes(split_nodes(cell)) and all(node in PARENT for node in split_nodes(cell))
            for cell in column.unique()
        }
        return column.map(known).astype(bool)


class ExpectKnownNodes(ColumnMapExpectation):
    """Expect each value of the column to be ontology nodes as the catalog writes them: sorted, joined by "|"."""

    map_metric = "column_values.known_nodes"


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


class ImageReadable(MulticolumnMapMetricProvider):
    condition_metric_name = "multicolumn_values.image_readable"

    @multicolumn_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column_list: pd.DataFrame, **_: Any) -> pd.Series[bool]:  # noqa: N805
        values = column_list.to_numpy(np.float64)
        return pd.Series((np.isfinite(values) & (values >= 0)).all(axis=1), index=column_list.index)


class ExpectImageReadable(MulticolumnMapExpectation):
    """Expect every number that decoding measures to be there: finite and not negative in each of the columns."""

    map_metric = "multicolumn_values.image_readable"


class ValuesInRanges(MulticolumnMapMetricProvider):
    condition_metric_name = "multicolumn_values.in_ranges"
    condition_value_keys = ("ranges",)

    @multicolumn_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(
        cls,  # noqa: N805
        column_list: pd.DataFrame,
        ranges: dict[str, list[float]],
        **_: Any,
    ) -> pd.Series[bool]:
        fits = pd.Series(True, index=column_list.index)
        for name, (low, high) in ranges.items():
            fits &= column_list[name].between(low, high) | column_list[name].isna()
        return fits


class ExpectDescriptorsInRange(MulticolumnMapExpectation):
    """Expect each column to lie between two bounds, which are allowed themselves; unknown values are passed over.

    ranges: column -> [lowest, highest], for the columns of column_list.
    """

    ranges: dict[str, list[float]]
    success_keys = ("ranges", "mostly")
    map_metric = "multicolumn_values.in_ranges"


class PixelsNotBlank(MulticolumnMapMetricProvider):
    condition_metric_name = "multicolumn_values.pixels_not_blank"
    condition_value_keys = ("min_std",)

    @multicolumn_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column_list: pd.DataFrame, min_std: float, **_: Any) -> pd.Series[bool]:  # noqa: N805
        std, dark, bright = (column_list.iloc[:, position] for position in range(3))
        flat = (std < min_std) | (dark >= bright)
        return ~flat


class ExpectPixelsNotBlank(MulticolumnMapExpectation):
    """Expect pictures with contrast: a standard deviation of at least min_std grey levels, and the 99th percentile
    above the first. column_list: std, p01, p99, in this order; unknown values are passed over."""

    min_std: float
    success_keys = ("min_std", "mostly")
    map_metric = "multicolumn_values.pixels_not_blank"


class PlausibleAge(MulticolumnMapMetricProvider):
    condition_metric_name = "multicolumn_values.plausible_age"
    condition_value_keys = ("limits",)

    @multicolumn_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(
        cls,  # noqa: N805
        column_list: pd.DataFrame,
        limits: dict[str, list[float]],
        **_: Any,
    ) -> pd.Series[bool]:
        age, source = column_list.iloc[:, 0], column_list.iloc[:, 1]
        fits = pd.Series(True, index=column_list.index)
        for name, (low, high) in limits.items():
            fits &= (source != name) | age.isna() | ((age >= low) & (age < high))
        return fits


class ExpectPlausibleAge(MulticolumnMapExpectation):
    """Expect known ages to be ones that their source can have.

    column_list: age in years, source. limits: source -> (lowest, highest), the highest being itself too high;
    sources without limits are passed over.
    """

    limits: dict[str, list[float]]
    success_keys = ("limits", "mostly")
    map_metric = "multicolumn_values.plausible_age"


class MultiLabel(MulticolumnMapMetricProvider):
    condition_metric_name = "multicolumn_values.multi_label"
    condition_value_keys = ("classes",)

    @multicolumn_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(
        cls,  # noqa: N805
        column_list: pd.DataFrame,
        classes: list[str],
        **_: Any,
    ) -> pd.Series[bool]:
        cells = column_list.drop_duplicates()
        fits = [is_multi_label(label, unknown, classes) for label, unknown in cells.itertuples(index=False)]
        known = cells.assign(fits=fits)
        return column_list.merge(known, how="left")["fits"].set_axis(column_list.index).astype(bool)


class ExpectMultiLabel(MulticolumnMapExpectation):
    """Expect the cells of a multi-label task: see `is_multi_label`. column_list: label, unknown_classes."""

    classes: list[str]
    success_keys = ("classes", "mostly")
    map_metric = "multicolumn_values.multi_label"


def is_multi_label(label: str, unknown: str, classes: list[str]) -> bool:
    """Whether two cells say of each class at most one thing.

    label: the positive classes in the order of `classes` joined by "|", or "none"; unknown: the classes whose truth
    is not known, likewise, or "". No class is both, and not all are unknown: such an image teaches nothing.
    """
    positive, doubtful = split_classes(label), split_classes(unknown)
    # Also refuses names that are no class, and repeated ones.
    in_order = all(names == [name for name in classes if name in names] for names in (positive, doubtful))
    return in_order and not set(positive) & set(doubtful) and len(doubtful) < len(classes)


class ProbabilityDistribution(MulticolumnMapMetricProvider):
    condition_metric_name = "multicolumn_values.probability_distribution"
    condition_value_keys = ("tolerance",)

    @multicolumn_condition_partial(engine=PandasExecutionEngine)  # type: ignore[untyped-decorator]
    def _pandas(cls, column_list: pd.DataFrame, tolerance: float, **_: Any) -> pd.Series[bool]:  # noqa: N805
        return (column_list.sum(axis=1, skipna=False) - 1).abs() <= tolerance


class ExpectProbabilityDistribution(MulticolumnMapExpectation):
    """Expect the columns to sum to 1 in every row, to within `tolerance`."""

    tolerance: float
    success_keys = ("tolerance", "mostly")
    map_metric = "multicolumn_values.probability_distribution"
