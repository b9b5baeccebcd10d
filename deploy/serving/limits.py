"""Reads the pictures out of a request without ever holding more than is allowed of it, or of all requests together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from typing import Protocol

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from deploy.serving.refusals import NOT_HELD, Refused
from deploy.serving.settings import ServeSettings

_FIELD_BYTES, _FIELDS = 1 << 14, 32  # of form fields that are no files; they are not looked at
_NEVER = 1 << 62


class _Incoming(Protocol):
    """What is needed of a Starlette request."""

    @property
    def headers(self) -> Headers: ...

    def stream(self) -> AsyncGenerator[bytes, None]: ...


class Lease:
    """What one request holds of the memory that all share. Slow senders hold what they sent, no more."""

    def __init__(self, memory: SharedMemory) -> None:
        self._memory = memory
        self.held = 0

    def take(self, count: int) -> None:
        """Raise Refused (429) where the bytes of all requests together would be too many."""
        if self._memory.held + count > self._memory.total:
            raise busy("the memory for pictures is full")
        self._memory.held += count
        self.held += count


class SharedMemory:
    """How many bytes of bodies are held by all requests, and at most. Used by one event loop."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.held = 0

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """What the block takes is given back when it ends."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            self.held -= lease.held


class _MemoryParser(MultiPartParser):
    """Starlette's parser, except that files never go to the disk, which may be read-only."""

    spool_max_size = _NEVER


async def read_pictures(request: _Incoming, settings: ServeSettings, lease: Lease) -> list[bytes]:
    """The content of each picture in a request: the files of a form, or a body that is one picture itself.

    Names of files and other fields of the form are not looked at. Raises Refused: 413 for a body that is too large,
    as soon as that is seen, 400 for a form that is none, 422 for one without files, 429 where memory is short.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > settings.max_bytes:
        raise _too_large(settings.max_bytes)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    async with aclosing(_counted(request, settings.max_bytes, lease)) as stream:
        if media_type == "multipart/form-data":
            return await _files(request.headers, stream, settings.max_pictures)
        return [b"".join([chunk async for chunk in stream])]


def busy(because: str) -> Refused:
    """The answer to a request that came in a crowd."""
    return Refused(
        429,
        "busy",
        f"Too many requests at once: {because}.",
        why="More than can be answered in time is refused at once, so that the rest is answered in time.",
        cure="Wait as long as the header Retry-After says, then send the same request again.",
        retry_after=1,
    )


async def _counted(request: _Incoming, max_bytes: int, lease: Lease) -> AsyncGenerator[bytes, None]:
    async with aclosing(request.stream()) as stream:
        async for chunk in stream:
            if lease.held + len(chunk) > max_bytes:
                raise _too_large(max_bytes)
            lease.take(len(chunk))
            yield chunk


async def _files(headers: Headers, stream: AsyncGenerator[bytes, None], max_pictures: int) -> list[bytes]:
    parser = _MemoryParser(headers, stream, max_files=max_pictures, max_fields=_FIELDS, max_part_size=_FIELD_BYTES)
    try:
        form = await parser.parse()
    except (MultiPartException, ValueError) as error:  # ValueError: character sets that do not decode
        raise Refused(
            400,
            "bad_form",
            f"The multipart form cannot be read: {getattr(error, 'message', 'its text cannot be decoded')}",
            why="The pictures in it cannot be told apart.",
            cure=f"Send up to {max_pictures} files as multipart/form-data, or one picture as the body itself.",
        ) from error
    uploads = [value for _, value in form.multi_items() if isinstance(value, UploadFile)]
    contents = []
    for upload in uploads:
        contents.append(await upload.read())
        await upload.close()
    if not contents:
        raise Refused(
            422,
            "no_picture",
            "The form has no file in it.",
            why="There is nothing to score.",
            cure="Send each picture as a file field: curl -F image=@film.png …",
        )
    return contents


def _too_large(max_bytes: int) -> Refused:
    return Refused(
        413,
        "body_too_large",
        f"The body has more than {max_bytes:,} bytes.",
        why="Pictures are held in memory while they are scored.",
        cure="Send fewer or smaller pictures, or raise the service's --max-bytes.",
    )


def too_slow_to_send(seconds: float) -> Refused:
    """The answer to a sender who took longer than a request may take."""
    return Refused(
        408,
        "slow_sender",
        f"The body did not arrive within {seconds:g} s.",
        why="A request that never ends would keep others from being answered.",
        cure=NOT_HELD,
    )
