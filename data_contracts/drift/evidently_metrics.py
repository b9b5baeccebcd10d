"""Our numbers as metrics of Evidently: it draws and keeps them, and whether a test passes is what the verdict says.

Evidently's own drift metrics choose statistic and threshold themselves, so that the same column could be called
drifted on its page and quiet in the verdict. These metrics compute nothing. Importing this module takes seconds.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from evidently import DataDefinition, Dataset
from evidently.core.datasets import DatasetColumn
from evidently.core.metric_types import (
    ByLabelCalculation,
    ByLabelMetric,
    ByLabelValue,
    MetricTestResult,
    SingleValue,
    SingleValueCalculation,
    SingleValueMetric,
)
from evidently.legacy.metric_results import HistogramData
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.options import ColorOptions
from evidently.legacy.renderers.html_widgets import CounterData, counter, plotly_figure, table_data
from evidently.legacy.tests.base_test import TestStatus
from evidently.legacy.utils.visualizations import get_distribution_for_column, plot_distr_with_perc_button

from data_contracts.drift.verdict import FeatureDrift, LayerVerdict

# Name of the additional table in which a report's metrics find the verdict.
VERDICT = "verdict"


def verdict_table(layer: LayerVerdict) -> Dataset:
    """One row: the layer's verdict as JSON, which is how a metric is told of it without its identity changing.

    Evidently writes texts into a script of its page as they are, so what could end that script is taken out.
    """
    table = pd.DataFrame({VERDICT: [harmless(layer.model_dump_json())]})
    return Dataset.from_pandas(table, data_definition=DataDefinition(categorical_columns=[VERDICT]))


def harmless(text: str) -> str:
    """Text without the sign that begins a tag."""
    return text.replace("<", "‹")


def _verdict(context: Any) -> LayerVerdict:
    table = context.additional_data[VERDICT].as_dataframe()
    return LayerVerdict.model_validate_json(table[VERDICT].iloc[0])


class LayerDrift(ByLabelMetric):  # type: ignore[misc]
    """The statistic of a layer and its limit, with the table of its columns; no value where there is none."""

    layer: str


class LayerDriftCalculation(ByLabelCalculation[LayerDrift]):  # type: ignore[misc]
    def display_name(self) -> str:
        return f"Layer {self.metric.layer}"

    def calculate(self, context: Any, current_data: Dataset, reference_data: Dataset | None) -> ByLabelValue:
        verdict = _verdict(context)
        values = {"value": verdict.value, "limit": verdict.limit}
        result = self.result({label: value for label, value in values.items() if value is not None})
        result.widget = [_headline(verdict), *_column_table(verdict)]
        result.set_tests([self._test(verdict)])
        return result

    def _test(self, verdict: LayerVerdict) -> MetricTestResult:
        status = {"quiet": TestStatus.SUCCESS, "exceeded": TestStatus.FAIL}.get(
            verdict.outcome, TestStatus.SKIPPED
        )
        return MetricTestResult(
            id="layer_drift",
            name=f"Layer {verdict.layer}: {verdict.outcome}",
            description=verdict.why,
            status=status,
            metric_config=self.to_metric_config(),
            test_config={},
        )


class ColumnDrift(SingleValueMetric):  # type: ignore[misc]
    """The statistic of one column, with its distribution in the window and in the reference."""

    layer: str
    column: str


class ColumnDriftCalculation(SingleValueCalculation[ColumnDrift]):  # type: ignore[misc]
    def display_name(self) -> str:
        return f"{self.metric.layer}: {self.metric.column}"

    def calculate(self, context: Any, current_data: Dataset, reference_data: Dataset | None) -> SingleValue:
        name = self.metric.column
        found = next(row for row in _verdict(context).features if row.name == name)
        result = self.result(found.value)
        if reference_data is not None and name in current_data.as_dataframe():
            title = f"{name}: {_statement(found)}"
            result.widget = [_distributions(title, current_data.column(name), reference_data.column(name))]
        else:
            result.widget = [
                counter(title=name, counters=[CounterData(label=_statement(found), value="not drawn")])
            ]
        result.set_tests(
            [
                MetricTestResult(
                    id="column_drift",
                    name=f"Column {name}: {'drifted' if found.drifted else 'not drifted'}",
                    description=_statement(found),
                    status=TestStatus.FAIL if found.drifted else TestStatus.SUCCESS,
                    metric_config=self.to_metric_config(),
                    test_config={},
                )
            ]
        )
        return result


class ColumnShown(ByLabelMetric):  # type: ignore[misc]
    """The distributions of a column to which the verdict puts no number, for the eye alone."""

    layer: str
    column: str


class ColumnShownCalculation(ByLabelCalculation[ColumnShown]):  # type: ignore[misc]
    def display_name(self) -> str:
        return f"{self.metric.layer}: {self.metric.column}"

    def calculate(self, context: Any, current_data: Dataset, reference_data: Dataset) -> ByLabelValue:
        name = self.metric.column
        result = self.result({})
        result.widget = [_distributions(name, current_data.column(name), reference_data.column(name))]
        return result


class MonitoredNumber(SingleValueMetric):  # type: ignore[misc]
    """One number of a window for the panels of the dashboard; the one row of the current data holds it."""

    number: str


class MonitoredNumberCalculation(SingleValueCalculation[MonitoredNumber]):  # type: ignore[misc]
    def display_name(self) -> str:
        return str(self.metric.number)

    def calculate(self, context: Any, current_data: Dataset, reference_data: Dataset | None) -> SingleValue:
        return self.result(float(current_data.as_dataframe()[self.metric.number].iloc[0]))


def _distributions(title: str, window: DatasetColumn, reference: DatasetColumn) -> BaseWidgetInfo:
    """Bars of window and reference in the same bins, as shares, because there are more images in the reference."""
    current, before = get_distribution_for_column(
        column_type=window.type.value, current=window.data, reference=reference.data
    )
    figure = plot_distr_with_perc_button(
        hist_curr=HistogramData.from_distribution(current),
        hist_ref=HistogramData.from_distribution(before),
        yaxis_name="images",
        yaxis_name_perc="percent of images",
        color_options=ColorOptions(),
        subplots=False,
        to_json=False,
        current_name="window",
        reference_name="reference",
    )
    for trace in figure.data:
        trace.visible = not trace.visible
    figure.update_layout(yaxis_title="percent of images", updatemenus=[{"active": 1}])
    return plotly_figure(title=title, figure=figure)


def _headline(verdict: LayerVerdict) -> BaseWidgetInfo:
    counters = [
        CounterData(label="outcome", value=verdict.outcome),
        CounterData(label="images", value=str(verdict.n)),
    ]
    if verdict.value is not None:
        counters += [
            CounterData(label=verdict.statistic, value=_short(verdict.value)),
            CounterData(label="calibrated limit", value=_short(verdict.limit)),
        ]
    return counter(title=verdict.why, counters=counters)


def _column_table(verdict: LayerVerdict) -> list[BaseWidgetInfo]:
    if not verdict.features:
        return []
    rows = [
        (
            row.name,
            row.statistic or "–",
            _short(row.value),
            _short(row.limit),
            _short(row.p_value),
            "not compared" if row.value is None else "drifted" if row.drifted else "quiet",
            row.note,
        )
        for row in verdict.features
    ]
    header = ["column", "statistic", "value", "limit", "p", "verdict", "note"]
    return [table_data(title="Columns", column_names=header, data=rows)]


def _statement(found: FeatureDrift) -> str:
    """The sentence of a column: statistic, value, limit and what follows."""
    limit = f", limit {_short(found.limit)}" if found.limit is not None else ""
    note = f" ({found.note})" if found.note else ""
    return f"{found.statistic} {_short(found.value)}{limit}: {'drifted' if found.drifted else 'not drifted'}{note}"


def _short(number: float | None) -> str:
    return "–" if number is None else f"{number:.3g}"
