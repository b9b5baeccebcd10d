"""What an operator sets about the service, and who may reach it."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path

from data_contracts.errors import EnvironmentProblem, UsageProblem
from data_contracts.picture import DecodeLimits

MEGAPIXEL = 1_000_000
_TOKEN_CHARACTERS = 16
_DEFAULTS = DecodeLimits()


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """One served model and its limits.

    port: 0 lets the system choose. max_bytes: of one request's body. max_pixels: of one picture, from its header.
    max_pictures: of one request. concurrency: requests scored at once, a thread each. queue: requests that wait for
    one. timeout: seconds from a request's headers to its answer. grace: seconds from SIGTERM to the end of the
    process. token: what callers must present, "" where anybody may ask. reload_seconds: how often the registry is
    asked for another champion. header_seconds: what a connection has to bring a whole request header, and to take an
    answer. max_connections: at once; the one that has brought nothing for longest makes room for a new one.
    """

    model: str
    host: str = "127.0.0.1"
    port: int = 8080
    max_bytes: int = 32 << 20
    max_pixels: int = _DEFAULTS.max_megapixels * MEGAPIXEL
    max_pictures: int = 32
    concurrency: int = 2
    queue: int = 32
    timeout: float = 30.0
    grace: float = 20.0
    token: str = field(default="", repr=False)
    reload_seconds: float = 10.0
    header_seconds: float = 10.0
    max_connections: int = 1000

    @property
    def buffered_bytes(self) -> int:
        """Of all requests together, how much of their bodies is held in memory."""
        return max(8 * self.max_bytes, 256 << 20)

    @property
    def on_loopback(self) -> bool:
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def require_guarded(host: str, token: str, no_auth: bool) -> None:
    """Raise UsageProblem where others could reach the service and nothing would ask who they are."""
    if not (is_loopback(host) or token or no_auth):
        raise UsageProblem(
            f"{host} is reached from other machines, and no token was given.",
            why="Anybody there could have pictures scored, and fill the prediction log that monitoring reads.",
            cure="Name a file with a token (--token-file), or say --no-auth where something in front asks for one.",
        )


def read_token(file: Path | None) -> str:
    """The token in a file, without the white space around it; "" where no file is named.

    Raises EnvironmentProblem where the file cannot be read, UsageProblem where what it holds is no good token.
    """
    if file is None:
        return ""
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise EnvironmentProblem(
            f"The token file {file} cannot be read: {getattr(error, 'strerror', None) or 'it is not ASCII text'}.",
            why="Without it nobody could be told from anybody else.",
            cure="Name a file that holds the token and that this user may read.",
        ) from error
    if len(token) < _TOKEN_CHARACTERS or any(character.isspace() for character in token):
        raise UsageProblem(
            f"The token in {file} has {len(token)} characters, or white space among them.",
            why=f"A token of fewer than {_TOKEN_CHARACTERS} characters can be guessed.",
            cure="Make one with `openssl rand -hex 32`.",
        )
    return token
