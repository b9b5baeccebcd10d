"""Turns templates into self-contained pages: autoescaped, the stylesheet inside, nothing loaded."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from models.reports import formatting, marks, plots


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
        formatting.difference,
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
    environment.globals["audit_mark"] = marks.AUDIT
    environment.globals["check_mark"] = marks.CHECK
    # The stylesheet and the script are ours and part of the package; they are the texts that are not escaped.
    environment.globals["stylesheet"] = Markup(_text("report.css"))  # noqa: S704
    script = _text("sorting.js.j2")
    environment.globals["sorting"] = Markup(script)  # noqa: S704
    # A page allows this one script by its hash, so that nothing else can ever run in it.
    environment.globals["sorting_hash"] = f"sha256-{b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
    return environment


def _text(name: str) -> str:
    return files("models.reports").joinpath("templates", name).read_text(encoding="utf-8")


def render(template: str, **values: object) -> str:
    """The named template filled with `values`; a name that the template does not know fails loudly."""
    return _environment().get_template(template).render(**values)
