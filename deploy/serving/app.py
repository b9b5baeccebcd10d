"""The HTTP interface: /predict, the probes, metrics, and pages that describe them."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from data_contracts.errors import LunglineError, UsageProblem
from deploy.serving.answers import NOTICE, Health, Predictions, Readiness
from deploy.serving.docs_page import docs_page
from deploy.serving.gate import Gate, refusal_response
from deploy.serving.limits import read_pictures, too_slow_to_send
from deploy.serving.refusals import Refused, RefusedRequest
from deploy.serving.service import Service

_BINARY = {"type": "string", "format": "binary"}
_REQUEST_BODY = {
    "required": True,
    "description": "PNG, JPEG or DICOM; what it is, is told by its content. Names of files and fields are ignored.",
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["image"],
                "properties": {"image": {"type": "array", "items": _BINARY}},
            }
        },
        "application/octet-stream": {"schema": _BINARY},
    },
}
_SAID = {
    400: "the form cannot be read",
    401: "no valid token",
    403: "another site's page, or another host",
    408: "the body did not arrive in time",
    413: "too many bytes or pixels",
    415: "not an image",
    422: "refused: blank, inverted, not a frontal chest film, damaged; or a query that is not understood",
    429: "too many requests at once; wait as Retry-After says",
    503: "no verified model, too slow, or stopping",
}
_log = logging.getLogger("lungline.serving")


class PredictQuery(BaseModel):
    """What a caller may say of all pictures of a request. Nothing here identifies a patient."""

    model_config = ConfigDict(extra="forbid")

    explain: str = Field("", max_length=64, description="predicted, or a class: adds a Grad-CAM picture of it")
    source: str = Field("", pattern=r"^[\w .-]{0,64}$", description="where the pictures come from, as in training")
    view: Literal["", "AP", "PA"] = Field("", description="else the DICOM header's")
    age: str = Field("", pattern=r"^(\d{1,3})?$", description="years; else the DICOM header's")
    sex: Literal["", "F", "M"] = Field("", description="else the DICOM header's")
    taken_on: str = Field("", pattern=r"^(\d{4}-\d\d-\d\d)?$", description="day of examination; else today")


def create_app(service: Service) -> ASGIApp:
    """The application around a service, which begins and ends with it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        service.begin()
        yield
        await asyncio.to_thread(service.end)

    app = FastAPI(
        title="Lungline scoring",
        description=f"Scores frontal chest X-rays with the approved champion. {NOTICE}",
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    _add_predict(app, service)
    _add_probes(app, service)
    _add_pages(app, service)
    _add_refusals(app, service)
    return Gate(app, service.settings, service.metrics)


def _add_predict(app: FastAPI, service: Service) -> None:
    refusals: dict[int | str, dict[str, Any]] = {
        status: {"model": RefusedRequest, "description": said} for status, said in _SAID.items()
    }

    @app.post("/predict", responses=refusals, openapi_extra={"requestBody": _REQUEST_BODY}, tags=["scoring"])
    async def predict(request: Request, query: Annotated[PredictQuery, Query()]) -> Predictions:
        """Score one or several pictures.

        200 where at least one was scored; any other says why in its field refused. Every answer and every refused
        picture is put into the prediction log.
        """
        served = service.require_ready()
        if query.explain:
            service.class_to_explain(served, query.explain)
        settings = service.settings
        given_up = threading.Event()
        reading = True
        facts = query.model_dump(exclude={"explain"})
        try:
            async with asyncio.timeout(settings.timeout) as limit:
                with service.answering(limit), service.memory.lease() as lease:
                    pictures = await read_pictures(request, settings, lease)
                    reading = False
                    return await service.workers.run(
                        lambda: service.predict(served, pictures, facts, query.explain, given_up)
                    )
        except TimeoutError:
            raise (
                too_slow_to_send(settings.timeout) if reading and not service.draining else service.too_slow()
            ) from None
        finally:
            given_up.set()


def _add_probes(app: FastAPI, service: Service) -> None:
    @app.get("/health", tags=["operation"])
    async def health() -> Health:
        """200 as long as the process answers at all."""
        return service.health()

    @app.get("/ready", responses={503: {"model": Readiness}}, tags=["operation"])
    async def ready(response: Response) -> Readiness:
        """200 while predictions are answered, else 503 with the reasons."""
        state = service.readiness()
        response.status_code = 200 if state.ready else 503
        return state

    @app.get("/metrics", response_class=Response, tags=["operation"])
    async def metrics() -> Response:
        """Prometheus' text format."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _add_pages(app: FastAPI, service: Service) -> None:
    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(docs_page(service, app.openapi(), str(request.base_url).rstrip("/")))


def _add_refusals(app: FastAPI, service: Service) -> None:
    """Everything that is not 2xx has the same form, and repeats nothing of what was sent."""

    @app.exception_handler(LunglineError)
    async def refused(_: Request, error: LunglineError) -> JSONResponse:
        if not isinstance(error, Refused):
            error = _as_refused(error)
        return refusal_response(error, service.metrics)

    @app.exception_handler(RequestValidationError)
    async def not_understood(_: Request, error: RequestValidationError) -> JSONResponse:
        known = PredictQuery.model_fields
        named = sorted({str(one["loc"][-1]) for one in error.errors()} & set(known))
        what = f"The query is not understood: {', '.join(named) or 'it has keys that are not known'}."
        why = "What is known of a picture must be right or left out; monitoring counts by it."
        cure = f"Keys are: {', '.join(known)}; /docs says what each may be. Nothing may identify a patient."
        return refusal_response(Refused(422, "query", what, why=why, cure=cure), service.metrics)

    @app.exception_handler(HTTPException)
    async def not_there(_: Request, error: HTTPException) -> JSONResponse:
        problem = Refused(
            error.status_code,
            f"http_{error.status_code}",
            f"{error.detail}.",
            why="Nothing answers such a request here.",
            cure="POST pictures to /predict; GET /docs lists what else there is.",
        )
        return refusal_response(problem, service.metrics)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> JSONResponse:
        problem = Refused(400, "gone", "The body ended early.", why="It is incomplete.", cure="Send it again.")
        return refusal_response(problem, service.metrics)  # nobody reads it; it is counted

    @app.exception_handler(Exception)
    async def defect(_: Request, __: Exception) -> JSONResponse:
        problem = Refused(
            500,
            "defect",
            "The service failed.",
            why="This is a defect in it or in a library it uses.",
            cure="Report it to the operator, whose log shows where it happened.",
        )
        return refusal_response(problem, service.metrics)


def _as_refused(error: LunglineError) -> Refused:
    """What scoring itself raises: the caller's mistake is told, trouble of this machine goes to its log alone."""
    if isinstance(error, UsageProblem):
        return Refused(422, "query", error.what, why=error.why, cure=error.cure)
    _log.error("a picture could not be scored: %s", error.what)
    return Refused(
        503,
        "model_failed",
        "The picture could not be scored.",
        why="The model or this machine failed, not the request.",
        cure="Ask the operator to look at the service's log; send the request again later.",
        retry_after=5,
    )
