"""Reads pictures out of what a caller hands over: a table, a list, a JSON request; base64 or the path of a file."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from data_contracts.errors import UsageProblem
from data_contracts.images import UnreadableImage
from models.scoring.predict import GivenImage

IMAGE = "image"  # the column, or the key of a record

_DATA_URL = re.compile(r"data:[a-z]+/[a-z0-9.+-]+;base64,", re.IGNORECASE)


def given_images(request: object, *, paths: bool) -> list[GivenImage]:
    """The pictures of a request, in its order; what is no picture at all becomes the reason why it is refused.

    request: a table with a column `image`; a record {"image": …} of one picture or a list of them; a list of pictures
    or of records; one picture. A picture is its content as bytes, as base64 or as a data URL, or the path of a file.
    paths: whether files may be read; not where strangers ask, who could then try out what this machine holds.
    Raises UsageProblem for a request of another form.
    """
    return [_given(value, paths=paths) for value in _values(request)]


def _values(request: object) -> Sequence[object]:
    if isinstance(request, pd.DataFrame):
        if IMAGE in request.columns:
            return request[IMAGE].tolist()
        raise _without_images(f"a table with the columns {[str(name) for name in request.columns]}")
    if isinstance(request, Mapping):
        if IMAGE in request:
            return _values(request[IMAGE])
        raise _without_images(f"a record with the keys {[str(name) for name in request]}")
    if isinstance(request, (str, bytes, Path)):
        return [request]
    if isinstance(request, (pd.Series, np.ndarray)):
        request = request.tolist()
    if isinstance(request, (list, tuple)):
        return [value.get(IMAGE) if isinstance(value, Mapping) else value for value in request]
    raise _without_images(f"a {type(request).__name__}")


def _given(value: object, *, paths: bool) -> GivenImage:
    if isinstance(value, bytes):
        return value
    text = os.fspath(value) if isinstance(value, (str, Path)) else ""
    if not text:
        return UnreadableImage("no image given")
    content = None if isinstance(value, Path) else _decoded(text)
    if not paths:
        return UnreadableImage("not base64 (paths are not read here)") if content is None else content
    # A name without a dot may be base64 by chance, so a file that is there comes first.
    if content is not None and not os.path.isfile(text):  # noqa: PTH113 (answers False for names no system takes)
        return content
    return UnreadableImage("not an image") if "\0" in text else Path(text)


def _decoded(text: str) -> bytes | None:
    """What base64 text stands for, with or without line breaks; None where it is none."""
    data_url = _DATA_URL.match(text)
    try:
        return base64.b64decode("".join(text[data_url.end() if data_url else 0 :].split()), validate=True)
    except (binascii.Error, ValueError):  # ValueError: text beyond ASCII
        return None


def _without_images(found: str) -> UsageProblem:
    return UsageProblem(
        f"A prediction was asked for with {found}.",
        why=f"Pictures are looked for in a column or key called {IMAGE!r}, or in a list.",
        cure=f'Send a table with a column {IMAGE!r}, or {{"inputs": ["<base64>", …]}} over HTTP.',
    )
