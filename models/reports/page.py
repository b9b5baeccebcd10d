"""Turns templates into self-contained pages: autoescaped, with the stylesheet inside and nothing loaded."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from models.reports import formatting, plots


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("models.reports", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        formatting.capitalised,
        formatting.count,
        formatting.counted,
        formatting.decimal,
        formatting.estimate,
        formatting.interval,
        formatting.metric_title,
        formatting.percent,
        formatting.short_hash,
        formatting.threshold,
        formatting.unbroken,
    ):
        environment.filters[function.__name__] = function
    environment.globals["line_sample"] = plots.line_sample
    environment.globals["dot_whisker_axis"] = plots.dot_whisker_axis
    # The stylesheet is ours and part of the package; it is the one text that is not escaped.
    style = files("models.reports").joinpath("templates", "report.css").read_text(encoding="utf-8")
    environment.globals["stylesheet"] = Markup(style)  # noqa: S704
    return environment


def render(template: str, **values: object) -> str:
    """The named template filled with `values`; a name that the template does not know fails loudly."""
    return _environment().get_template(template).render(**values)
