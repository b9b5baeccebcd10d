"""What `lungline doctor --stack` says of the image's registry, asked of a small one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from pipelines.stack_check import registry_findings

DIGEST = "sha256:" + "0" * 64


class Registry(ThreadingHTTPServer):
    """Holds team/lungline-train under the tag 1 and under DIGEST."""

    held = tuple(f"/v2/team/lungline-train/manifests/{reference}" for reference in ("1", DIGEST))

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path in ("/v2/", *Registry.held) else 404)
        self.end_headers()

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with Registry() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("named", ["1", f"@{DIGEST}", f"1@{DIGEST}", f"removed@{DIGEST}"])
def test_an_image_is_found_by_its_tag_or_by_its_digest_whatever_tag_stands_before(
    registry: Registry, named: str
) -> None:
    image = f"{registry.host}/team/lungline-train" + (named if named.startswith("@") else f":{named}")
    answers, there = registry_findings(image)
    assert (answers.subject, answers.state, there.subject, there.state) == ("registry", "ok", "image", "ok"), there
    assert there.found == image


@pytest.mark.parametrize("named", [":2", f"@{DIGEST.replace('0', '1')}", f":1@{DIGEST.replace('0', '1')}"])
def test_an_image_that_the_registry_does_not_hold_is_named(registry: Registry, named: str) -> None:
    _, there = registry_findings(f"{registry.host}/team/lungline-train{named}")
    assert (there.subject, there.state) == ("image", "wrong")
    assert "is not in the registry" in there.found


@pytest.mark.parametrize(
    "image", ["lungline-train:0.1.0", "team/lungline-train:0.1.0", f"lungline-train@{DIGEST}"]
)
def test_an_image_whose_name_has_no_registry_is_a_note_that_says_so(image: str) -> None:
    (finding,) = registry_findings(image)
    assert (finding.subject, finding.state) == ("registry", "note")
    assert finding.found.startswith(f"{image} names none")
    assert "registry.example/" in finding.cure


def test_a_registry_may_be_the_machine_itself() -> None:
    asked = next(registry_findings("localhost/lungline-train:0.1.0"))  # whether anybody answers there or not
    assert "localhost" in asked.found
    assert "names none" not in asked.found
