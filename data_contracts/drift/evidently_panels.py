"""The panels of a model's dashboard: what an operator looks at, from the names of the numbers there are."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING

from data_contracts.drift import dashboard_numbers as numbers
from data_contracts.drift.performance import ASSUMPTION

if TYPE_CHECKING:
    from evidently.sdk.models import DashboardModel, DashboardPanelPlot, PanelMetric

TAB = "Monitoring"
_METRIC = "MonitoredNumber"  # the class in evidently_metrics, whose import takes seconds
_ABOUT = (
    "One point per window, at the window's end. Limits are calibrated on held-out images; a single window over a "
    "limit is watched, and an alarm needs confirmation. Not a medical device."
)


def dashboard(project: uuid.UUID, names: Iterable[str]) -> DashboardModel:
    """Tab and panels for these numbers; equal names give an equal dashboard."""
    from evidently.sdk.models import DashboardModel, DashboardTabModel

    panels = [
        panel.copy(update={"id": uuid.uuid5(project, panel.title)})
        for panel in _panels(set(names))
        if panel.values or panel.plot_params["plot_type"] == "text"
    ]
    tab = DashboardTabModel(id=uuid.uuid5(project, TAB), title=TAB, panels=[panel.id for panel in panels])
    return DashboardModel(tabs=[tab], panels=panels)


def _panels(names: set[str]) -> list[DashboardPanelPlot]:
    from evidently.sdk.panels import bar_plot_panel, counter_panel, line_plot_panel, text_panel

    budget = [numbers.JUDGED, numbers.EXCEEDED, numbers.EXPECTED, numbers.ALARMS, numbers.INSUFFICIENT]
    layers = numbers.ordered_layers(names)
    return [
        text_panel("Drift of the images that the champion scores", _ABOUT),
        counter_panel(
            "False-alarm budget",
            [_shown(name) for name in budget if name in names],
            "Sums over the windows shown. Without drift, about as many go over a limit as chance alone makes expected.",
            aggregation="sum",
        ),
        line_plot_panel(
            "Each layer's statistic as a multiple of its limit",
            [_shown(name, numbers.LAYER) for name in layers] + [_shown(numbers.LIMIT)] * bool(layers),
            f"Above 1 the layer has exceeded its limit. Cut off at {numbers.HIGHEST_RATIO:g}.",
        ),
        bar_plot_panel(
            "Share of drifted columns",
            [_shown(name) for name in (numbers.DRIFTED,) if name in names],
            "Of all columns that could be compared; explains a layer's outcome and never decides it.",
            size="half",
        ),
        bar_plot_panel("Images per window", [_shown(numbers.IMAGES)], "Refused ones included.", size="half"),
        bar_plot_panel(
            "Mix of predictions",
            _starting(numbers.CLASS, names),
            "Share of scored images for which a class is the most probable.",
            stacked=True,
        ),
        bar_plot_panel(
            "Refused images by reason",
            # All of them too, for it is there in every window and keeps the axis of time whole.
            [_shown(name) for name in (numbers.REFUSALS,) if name in names] + _starting(numbers.REFUSED, names),
            "Share of all images.",
        ),
        line_plot_panel(
            "Sensitivity where labels have arrived",
            _starting(numbers.SENSITIVITY, names),
            "Measured at the frozen operating points. Windows without labels have no point.",
        ),
        line_plot_panel("Sensitivity estimated without labels", _starting(numbers.ESTIMATED, names), ASSUMPTION),
    ]


def _starting(prefix: str, names: set[str]) -> list[PanelMetric]:
    return [_shown(name, prefix) for name in sorted(names) if name.startswith(prefix)]


def _shown(name: str, prefix: str = "") -> PanelMetric:
    from evidently.sdk.models import PanelMetric

    return PanelMetric(metric=_METRIC, metric_labels={"number": name}, legend=name.removeprefix(prefix))
