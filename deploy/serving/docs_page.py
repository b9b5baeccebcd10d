"""The page at /docs: made from the OpenAPI document, self-contained, so that it works without the internet."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from deploy.serving.answers import EXAMPLE
from deploy.serving.service import Service


def docs_page(service: Service, openapi: dict[str, Any], address: str) -> str:
    """HTML. openapi: the application's own document. address: where the caller reached the service."""
    settings = service.settings
    predict = openapi["paths"]["/predict"]["post"]
    operations = [
        {"method": method.upper(), "path": path, "says": operation["description"]}
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    refusals = [
        {"status": status, "says": answer["description"]}
        for status, answer in sorted(predict["responses"].items())
        if status != "200"
    ]
    return _template().render(
        model=service.champion.model_name,
        state=service.readiness(),
        settings=settings,
        operations=operations,
        parameters=predict["parameters"],
        refusals=refusals,
        example=json.dumps(EXAMPLE, indent=2),
        token="-H 'Authorization: Bearer …' " if settings.token else "",
        address=address,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("deploy.serving", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # The reports' own stylesheet, which is part of the program, is the one text that is not escaped.
    stylesheet = files("models.reports").joinpath("templates", "report.css").read_text(encoding="utf-8")
    environment.globals["stylesheet"] = Markup(stylesheet)  # noqa: S704
    return environment.get_template("docs.html.j2")
