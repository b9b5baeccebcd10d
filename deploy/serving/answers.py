"""What callers are told: the JSON of predictions and of the service's own state."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from deploy.serving.refusals import RefusedPicture, refused_picture
from models.evaluation.predictions import PROBABILITY
from models.scoring.predict import CALL

NOTICE = "Not a medical device. These numbers are for research and for the operation of models."

_HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
EXAMPLE: dict[str, Any] = {
    "model": "lungline-merged",
    "version": "3",
    "bundle": _HASH,
    "predictions": [
        {
            "index": 0,
            "image_id": _HASH,
            "probabilities": {"covid19": 0.91, "bacterial_pneumonia": 0.06, "pneumothorax": 0.01, "normal": 0.02},
            "predicted": "covid19",
            "calls": {"covid19": "positive", "pneumothorax": "negative"},
            "abstain": [],
            "flags": [],
            "refused": None,
            "explanation": None,
        }
    ],
    "notice": NOTICE,
}


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Explanation(_Answer):
    """A Grad-CAM picture of one class: the image, and the image under its map. It does not locate a lesion."""

    of_class: str
    png_base64: str
    statement: str


class PictureAnswer(_Answer):
    """What the model says of one picture of the request, or why it was not asked."""

    index: int = Field(description="place of the picture in the request, from 0")
    image_id: str = Field(description="sha256 of the decoded pixels; empty where they could not be decoded")
    probabilities: dict[str, float] = Field(description="class -> probability; empty where refused")
    predicted: str = Field(description="most probable class; with several findings those called, joined by |")
    calls: dict[str, Literal["positive", "negative"]] = Field(description="classes that have an operating point")
    abstain: list[str] = Field(
        description="classes between rule-out and rule-in: a person has to read the picture"
    )
    flags: list[str] = Field(description="what is doubtful about the picture")
    refused: RefusedPicture | None = None
    explanation: Explanation | None = None


class Predictions(_Answer):
    """The answers to all pictures of a request, in its order, and the version that gave them."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [EXAMPLE]})

    model: str
    version: str
    bundle: str = Field(description="content hash of the verified bundle")
    predictions: list[PictureAnswer]
    notice: str = NOTICE


class Health(_Answer):
    """That the process lives. detail: what is wrong without keeping it from answering."""

    alive: Literal[True] = True
    detail: list[str] = []


class Readiness(_Answer):
    """Whether predictions are answered. reasons: why not. detail: what is wrong all the same."""

    ready: bool
    model: str
    version: str
    reasons: list[str]
    detail: list[str]


def picture_answer(index: int, row: pd.Series, explanation: Explanation | None) -> PictureAnswer:
    """One row of the prediction log, as the caller is told it."""
    cells: dict[str, Any] = {str(name): value for name, value in row.items()}
    refused = str(cells["refused"])
    return PictureAnswer(
        index=index,
        image_id=cells["image_id"],
        probabilities={} if refused else {k: float(v) for k, v in _by_class(cells, PROBABILITY).items()},
        predicted=cells["predicted"],
        calls={name: call for name, call in _by_class(cells, CALL).items() if call},
        abstain=_listed(cells["abstain"]),
        flags=_listed(cells["flags"]),
        refused=refused_picture(index, refused) if refused else None,
        explanation=explanation,
    )


def _by_class(cells: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in cells.items() if name.startswith(prefix)}


def _listed(cell: str) -> list[str]:
    return [part for part in cell.split("|") if part]
