"""Every way the service says no: an HTTP status, a word for the metrics, and what, why and cure for the caller.

Nothing of what a caller sent is repeated in them: names of files and fields may name patients.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from data_contracts.errors import LunglineError
from models.scoring.scorer import REFUSED_FLAGS

NOT_HELD = "Send the same request again; nothing of this one was kept."


class Refusal(BaseModel):
    """Why a request or a picture was refused: what happened, why it matters, what to do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str
    why: str
    cure: str


class RefusedPicture(Refusal):
    """The same of one picture of a request. index: its place, from 0. reason: as the prediction log keeps it."""

    index: int
    reason: str


class RefusedRequest(Refusal):
    """The body of every answer that is not 2xx. pictures: each, where there were several."""

    pictures: list[RefusedPicture] = []


class Refused(LunglineError):
    """A request that is not answered. label: its kind, for the metrics. retry_after: seconds, None where useless."""

    def __init__(
        self,
        status: int,
        label: str,
        what: str,
        *,
        why: str,
        cure: str,
        retry_after: int | None = None,
        pictures: list[RefusedPicture] | None = None,
    ) -> None:
        super().__init__(what, why=why, cure=cure)
        self.status = status
        self.label = label
        self.retry_after = retry_after
        self.pictures = pictures or []

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after is not None else {}
        return {**headers, "WWW-Authenticate": "Bearer"} if self.status == 401 else headers

    def body(self) -> dict[str, object]:
        answer = RefusedRequest(what=self.what, why=self.why, cure=self.cure, pictures=self.pictures)
        return answer.model_dump(mode="json", exclude=None if self.pictures else {"pictures"})


@dataclass(frozen=True, slots=True)
class _Kind:
    """Pictures refused alike. begins: how the reasons begin."""

    label: str
    status: Literal[413, 415, 422]
    begins: tuple[str, ...]
    why: str
    cure: str


_UNSEEN = "What cannot be decoded safely is never scored."
_KINDS = (
    _Kind(
        "not_an_image",
        415,
        ("not an image", "format not allowed", "no picture in", "DICOM"),
        "Only PNG, JPEG and, where its extra is installed, DICOM are decoded; the content decides, not its name.",
        "Send the radiograph itself as PNG, JPEG or DICOM.",
    ),
    _Kind(
        "too_large", 413, ("too large",), _UNSEEN, "Send a smaller picture, or raise the service's --max-pixels."
    ),
    _Kind(
        "too_small",
        422,
        ("below minimum size",),
        "A thumbnail lacks what the model was trained to see.",
        "Send the picture in its original size.",
    ),
    _Kind(
        "blank",
        422,
        ("no contrast", "two grey levels", "blank"),
        "A picture without grey levels shows no chest; a score would be noise.",
        "Look at the picture: it may be a mask, a calibration frame or an export that failed.",
    ),
    _Kind(
        "inverted",
        422,
        (REFUSED_FLAGS["inversion_suspected"],),
        "The model was trained on films with bright bones; on an inverted one its answer means nothing.",
        "Look at the picture, and export it with bones bright (MONOCHROME2).",
    ),
    _Kind(
        "not_a_frontal_chest_film",
        422,
        (REFUSED_FLAGS["unlike_frontal_chest"], "lateral", "oblique", "body part", "not a radiograph"),
        "The model was trained on frontal chest films and answers anything else just as surely.",
        "Send the frontal (PA or AP) film of the examination, upright.",
    ),
    _Kind(
        "names_a_patient",
        422,
        ("burned-in",),
        "Text in the picture may name its patient, and a model may learn to read it.",
        "Send a picture without annotation.",
    ),
    _Kind(
        "unreadable",
        422,
        ("empty file", "truncated", "damaged", "several frames", "neither 8", "photometric", "raw detector"),
        _UNSEEN,
        "Export the picture again and compare it with the original before sending it.",
    ),
)
_OTHER = _Kind(
    "other", 422, (), "The model is only asked about pictures it can answer for.", "Look at the picture."
)


def kind_of_refusal(reason: str) -> tuple[str, int]:
    """A word for the metrics, and the HTTP status, of a reason why a picture was refused."""
    kind = _kind(reason)
    return kind.label, kind.status


def refused_picture(index: int, reason: str) -> RefusedPicture:
    """What a caller is told about a refused picture."""
    kind = _kind(reason)
    what = f"Picture {index} was not scored: {reason}."
    return RefusedPicture(what=what, why=kind.why, cure=kind.cure, index=index, reason=reason)


def all_refused(pictures: list[RefusedPicture]) -> Refused:
    """The answer to a request none of whose pictures was scored; the status is theirs where they agree, else 422."""
    labels, statuses = zip(*(kind_of_refusal(picture.reason) for picture in pictures), strict=True)
    label = labels[0] if len(set(labels)) == 1 else "several"
    status = statuses[0] if len(set(statuses)) == 1 else 422
    if len(pictures) == 1:
        one = pictures[0]
        return Refused(status, label, one.what, why=one.why, cure=one.cure)
    return Refused(
        status,
        label,
        f"None of the {len(pictures)} pictures was scored.",
        why="Each was refused; `pictures` says why.",
        cure="Do for each what its `cure` says.",
        pictures=pictures,
    )


def _kind(reason: str) -> _Kind:
    return next((kind for kind in _KINDS if reason.startswith(kind.begins)), _OTHER)
