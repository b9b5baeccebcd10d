"""The scoring service over HTTP: answers, refusals, what is recorded, who may ask, and the pages about it."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from data_contracts.errors import EnvironmentProblem, UsageProblem
from data_contracts.workspace import Workspace
from deploy.serving.answers import EXAMPLE, Predictions
from deploy.serving.limits import SharedMemory
from deploy.serving.refusals import Refused, kind_of_refusal
from deploy.serving.settings import read_token, require_guarded
from models.evaluation.predictions import PROBABILITY
from models.scoring.predict import predict_images
from tests.dicom_files import dicom
from tests.served_models import LUNGLINE, Running, film, logged, running, wait_until, workspace_with_champion
from tests.unit.test_bundle import CLASSES
from tests.unit.test_input_checks import chest
from tests.unit.test_scoring_call import content

TOKEN = "a-token-of-enough-characters"  # noqa: S105
NAMED = "MUELLER-ANNA-1957.png"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return workspace_with_champion(tmp_path_factory.mktemp("serving"))


@pytest.fixture(scope="module")
def service(workspace: Workspace) -> Iterator[Running]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LUNGLINE_PATIENT_KEY", "k" * 32)
        with running(workspace) as found:
            yield found


def form(*contents: bytes, name: str = NAMED) -> list[tuple[str, tuple[str, bytes]]]:
    return [("image", (name, one)) for one in contents]


def refusal(answer: httpx.Response) -> dict[str, str]:
    """The refusal of an answer, after checking its form."""
    said: dict[str, str] = answer.json()
    assert all(said[part] for part in ("what", "why", "cure"))
    return said


def rows_of(workspace: Workspace, image_id: str) -> list[dict[str, object]]:
    """The logged rows of an image, once they are on the disk."""

    def rows() -> list[dict[str, object]]:
        frame = logged(workspace).frame
        return frame[frame["image_key"] == image_id].to_dict("records")

    wait_until(rows, 20)
    return rows()


# Answers


def test_a_picture_gets_the_answer_it_gets_from_the_bundle(service: Running) -> None:
    served = service.service.champion.served
    assert served is not None
    (expected,) = predict_images(served.scorer.bundle, [film()]).to_dict("records")
    answer = service.http.post("/predict", content=film())
    assert answer.status_code == 200
    body = answer.json()
    assert (body["version"], body["bundle"]) == ("1", served.scorer.bundle.content_hash)
    (one,) = body["predictions"]
    assert one["image_id"] == expected["image_id"]
    assert one["probabilities"] == pytest.approx({name: expected[PROBABILITY + name] for name in CLASSES})
    assert one["predicted"] == expected["predicted"]
    assert one["calls"] == {"covid19": expected["call_covid19"]}
    assert one["refused"] is None


@pytest.mark.parametrize("content_type", ["image/png", "application/x-www-form-urlencoded", "text/plain", ""])
def test_a_body_is_a_picture_by_its_content_whatever_it_is_called(service: Running, content_type: str) -> None:
    answer = service.http.post("/predict", content=film(), headers={"Content-Type": content_type})
    assert answer.status_code == 200


def test_pictures_of_a_form_are_answered_in_their_order_and_each_refusal_says_why(service: Running) -> None:
    answer = service.http.post("/predict", files=form(film(1), b"no picture", film(2), content(255 - chest())))
    assert answer.status_code == 200
    one, refused, two, inverted = answer.json()["predictions"]
    assert [one["index"], refused["index"], two["index"]] == [0, 1, 2]
    assert one["image_id"] != two["image_id"]
    assert set(refused["refused"]) == {"what", "why", "cure", "index", "reason"}
    assert (refused["probabilities"], refused["predicted"]) == ({}, "")
    assert inverted["refused"]["reason"].startswith("looks inverted")
    assert inverted["flags"] == ["inversion_suspected"]
    assert inverted["probabilities"] == {}


def test_a_dicom_file_is_answered_and_its_patient_is_kept_as_a_pseudonym(
    service: Running, workspace: Workspace
) -> None:
    given = dicom(chest(), PatientID="4711", PatientAge="061Y", PatientSex="F", ViewPosition="PA")
    answer = service.http.post("/predict?source=site-a", files=form(given))
    assert answer.status_code == 200, answer.text
    (row,) = rows_of(workspace, answer.json()["predictions"][0]["image_id"])
    assert re.fullmatch(r"site-a:[0-9a-f]{16}", str(row["patient"]))
    assert (row["view"], row["age"], row["sex"], row["source"]) == ("PA", 61.0, "F", "site-a")
    assert "4711" not in answer.text


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        (b"", 422, "empty file"),
        (b"GIF89a" + b"\0" * 40, 415, "format not allowed"),
        (b"{}", 415, "not an image"),
        (film()[:300], 422, "truncated"),
        (content(np.full((40, 40), 9, np.uint8)), 422, "no contrast"),
        (content(chest(16)), 422, "below minimum size"),
        (content(255 - chest()), 422, "looks inverted"),
        (content(np.tile(np.array([0, 255, 128], np.uint8).repeat(8), (64, 4))), 422, "unlike a frontal chest"),
        (dicom(chest(), ViewPosition="LATERAL"), 422, "lateral view"),
        (dicom(chest(), Modality="CT"), 422, "not a radiograph"),
    ],
)
def test_a_single_refused_picture_has_the_status_of_its_reason(
    service: Running, given: bytes, status: int, said: str
) -> None:
    answer = service.http.post("/predict", content=given)
    assert answer.status_code == status
    assert said in refusal(answer)["what"]


def test_where_every_picture_is_refused_each_reason_is_told(service: Running) -> None:
    answer = service.http.post("/predict", files=form(b"x", content(255 - chest())))
    assert answer.status_code == 422
    assert "None of the 2 pictures" in refusal(answer)["what"]
    assert [one["index"] for one in answer.json()["pictures"]] == [0, 1]
    assert service.http.post("/predict", files=form(b"x", b"y")).status_code == 415


def test_every_reason_has_its_word_for_the_metrics() -> None:
    kinds = {reason: kind_of_refusal(reason) for reason in ("too large: 9x9", "lateral view", "nobody knows")}
    assert kinds == {
        "too large: 9x9": ("too_large", 413),
        "lateral view": ("not_a_frontal_chest_film", 422),
        "nobody knows": ("other", 422),
    }


# Explanations


@pytest.mark.parametrize("explain", ["predicted", "covid19"])
def test_an_overlay_is_drawn_on_request(service: Running, explain: str) -> None:
    answer = service.http.post(f"/predict?explain={explain}", files=form(film(3), b"x"))
    first, refused = answer.json()["predictions"]
    shown = first["explanation"]
    assert shown["of_class"] == (first["predicted"] if explain == "predicted" else explain)
    assert Image.open(io.BytesIO(base64.b64decode(shown["png_base64"]))).mode == "RGB"
    assert "Not a lesion localisation" in shown["statement"]
    assert refused["explanation"] is None


def test_a_class_that_cannot_be_explained_is_told_which_can(service: Running) -> None:
    answer = service.http.post("/predict?explain=fracture", content=film())
    assert answer.status_code == 422
    assert all(name in refusal(answer)["cure"] for name in CLASSES)


# What is recorded and what is not


def test_answers_and_refusals_are_logged_once_with_what_was_told_of_them(
    service: Running, workspace: Workspace
) -> None:
    before = service.metric("lungline_predictions_total")
    query = "?source=hospital-a&view=AP&age=44&sex=M&taken_on=2026-02-03"
    first = service.http.post(f"/predict{query}", files=form(film(10))).json()["predictions"][0]
    service.http.post("/predict", files=form(film(10)))
    refused = service.http.post("/predict", files=form(content(255 - chest(90)), film(11))).json()["predictions"][
        0
    ]
    (row,) = rows_of(workspace, first["image_id"])
    assert (row["origin"], row["model"], row["version"], row["refused"]) == ("service", "lungline-small", "1", "")
    assert [row[name] for name in ("source", "view", "age", "sex", "taken_on")] == [
        *("hospital-a", "AP", 44.0, "M", "2026-02-03"),
    ]
    assert row["p_covid19"] == first["probabilities"]["covid19"]
    assert len(row["embedding"]) > 0
    (kept,) = rows_of(workspace, refused["image_id"])
    assert kept["refused"] == refused["refused"]["reason"]
    assert service.metric("lungline_predictions_total") == before + 3


def test_names_of_files_and_fields_are_neither_answered_nor_logged(
    service: Running, workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    answers = [
        service.http.post("/predict", files=form(film(20), b"x"), data={"MUELLER": "MUELLER"}),
        service.http.post("/predict", files=form(b"x")),
        service.http.post("/predict?patient=MUELLER", content=film(20)),
        service.http.post("/predict?age=MUELLER", content=film(20)),
        service.http.get("/MUELLER"),
        service.http.post("/predict", content=b"--MUELLER", headers={"Content-Type": "multipart/form-data"}),
    ]
    rows_of(workspace, answers[0].json()["predictions"][0]["image_id"])
    stored = [path.read_bytes() for path in workspace.predictions.rglob("*") if path.is_file()]
    said = "".join(
        [answer.text for answer in answers] + list(capfd.readouterr()) + [service.http.get("/metrics").text]
    )
    assert "MUELLER" not in said
    assert not any(b"MUELLER" in data for data in stored)
    assert [answer.status_code for answer in answers] == [200, 415, 422, 422, 404, 400]


@pytest.mark.parametrize(
    "query", ["sex=X", "age=-1", "taken_on=2026-13-01", "source=../etc", "patient=1", "view=LL"]
)
def test_a_query_that_is_not_understood_is_refused(service: Running, query: str) -> None:
    answer = service.http.post(f"/predict?{query}", content=film())
    assert answer.status_code == 422
    assert query.partition("=")[2] not in refusal(answer)["what"]


def test_where_the_log_cannot_be_written_the_service_is_not_ready_and_loses_nothing(workspace: Workspace) -> None:
    with running(workspace) as service:
        blocked = workspace.predictions.rename(workspace.home / "elsewhere")
        workspace.predictions.write_text("in the way")
        answer = service.http.post("/predict", content=film(30))
        wait_until(lambda: service.http.get("/ready").status_code == 503, 10)
        assert "cannot be recorded" in service.http.get("/ready").json()["reasons"][0]
        assert service.http.get("/health").status_code == 200
        assert service.metric("lungline_prediction_log_failures_total") >= 1
        workspace.predictions.unlink()
        blocked.rename(workspace.predictions)
        wait_until(lambda: service.http.get("/ready").status_code == 200, 10)
        assert rows_of(workspace, answer.json()["predictions"][0]["image_id"])
        service.service.recorder.require_room()


# Limits of a form


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"", "multipart/form-data", 400),
        (b"nothing of the kind", "multipart/form-data; boundary=b", 400),
        (
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n',
            "multipart/form-data; boundary=b",
            422,
        ),
        (b"--b\r\n\r\nx\r\n--b--\r\n", "multipart/form-data; boundary=b", 400),
        (
            b'--b\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n\xff\r\n--b--\r\n',
            "multipart/form-data; boundary=b; charset=undefined",
            400,
        ),
        (
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 20_000 + b"\r\n--b--\r\n",
            "multipart/form-data; boundary=b",
            400,
        ),
    ],
)
def test_a_form_without_pictures_is_refused(service: Running, body: bytes, content_type: str, status: int) -> None:
    answer = service.http.post("/predict", content=body, headers={"Content-Type": content_type})
    assert answer.status_code == status
    refusal(answer)


def test_more_pictures_than_allowed_are_refused(service: Running) -> None:
    answer = service.http.post("/predict", files=form(*[b"x"] * 33))
    assert answer.status_code == 400
    assert "32" in refusal(answer)["what"]


def test_memory_for_bodies_is_shared_and_given_back() -> None:
    memory = SharedMemory(100)
    with memory.lease() as one:
        one.take(60)
        with memory.lease() as other:
            other.take(40)
            with pytest.raises(Refused) as refused:
                one.take(1)
        assert (refused.value.status, memory.held) == (429, 60)
    assert memory.held == 0


# Probes, metrics, pages


def test_probes_and_metrics_say_what_answers(service: Running) -> None:
    assert service.http.get("/health").json() == {"alive": True, "detail": []}
    state = service.http.get("/ready").json()
    assert (state["ready"], state["model"], state["version"]) == (True, "lungline-small", "1")
    assert service.metric('lungline_model_info{bundle="') == 1
    assert service.metric("lungline_ready") == 1
    before = service.metric('lungline_requests_total{path="/predict",status="415"}')
    refused = service.metric('lungline_refused_pictures_total{reason="not_an_image"}')
    service.http.post("/predict", content=b"x")
    assert service.metric('lungline_requests_total{path="/predict",status="415"}') == before + 1
    assert service.metric('lungline_refused_pictures_total{reason="not_an_image"}') == refused + 1
    assert service.metric('lungline_request_seconds_count{path="/predict"}') > 0
    assert service.metric("lungline_requests_in_flight") == 0


def test_the_openapi_document_has_examples_and_names_every_refusal(service: Running) -> None:
    document = service.http.get("/openapi.json").json()
    predict = document["paths"]["/predict"]["post"]
    assert {"200", "413", "415", "422", "429", "503"} <= set(predict["responses"])
    assert set(predict["requestBody"]["content"]) == {"multipart/form-data", "application/octet-stream"}
    (example,) = document["components"]["schemas"]["Predictions"]["examples"]
    assert Predictions.model_validate(example) == Predictions.model_validate(EXAMPLE)
    assert {one["name"] for one in predict["parameters"]} >= {"explain", "source", "taken_on"}


def test_the_page_about_it_loads_nothing(service: Running) -> None:
    page = service.http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"<script|<link|src=|@import|url\(", page.text)
    addresses = re.findall(r"https?://[^\s'<]+", page.text)
    assert len(addresses) == 3
    assert all(found.startswith(f"{service.address}/predict") for found in addresses)
    assert "Version 1 answers" in page.text
    assert "POST /predict" in page.text


def test_what_is_not_there_is_told_in_the_same_form(service: Running) -> None:
    assert (service.http.get("/nowhere").status_code, service.http.get("/predict").status_code) == (404, 405)
    refusal(service.http.get("/nowhere"))
    assert service.metric('lungline_requests_total{path="other",status="404"}') >= 1


# Who may ask


def test_with_a_token_only_the_probes_are_open(workspace: Workspace) -> None:
    with running(workspace, ready=False, token=TOKEN) as service:
        wait_until(lambda: service.http.get("/ready").status_code == 200)
        for path in ("/metrics", "/docs", "/openapi.json"):
            assert service.http.get(path).status_code == 401
        for given in ({}, {"Authorization": f"Bearer {TOKEN}x"}, {"Authorization": f"Basic {TOKEN}"}):
            answer = service.http.post("/predict", content=film(), headers=given)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            refusal(answer)
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert service.http.post("/predict", content=film(), headers=bearer).status_code == 200
        assert service.http.get("/health").status_code == 200
        assert TOKEN not in repr(service.service.settings)


@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "[::1"}]
)
def test_pages_of_other_sites_do_not_reach_a_service_on_loopback(
    service: Running, headers: dict[str, str]
) -> None:
    answer = service.http.post("/predict", content=film(), headers=headers)
    assert answer.status_code == 403
    refusal(answer)


def test_the_same_host_is_no_stranger(service: Running) -> None:
    own = {"Origin": service.address, "Host": f"localhost:{service.port}"}
    assert service.http.get("/health", headers=own).status_code == 200


def test_an_address_beyond_loopback_needs_a_token_or_a_clear_word() -> None:
    for host in ("0.0.0.0", "192.168.1.7", "::", "example.org"):  # noqa: S104
        with pytest.raises(UsageProblem, match="no token"):
            require_guarded(host, "", no_auth=False)
        require_guarded(host, TOKEN, no_auth=False)
        require_guarded(host, "", no_auth=True)
    for host in ("127.0.0.1", "::1", "localhost"):
        require_guarded(host, "", no_auth=False)


def test_a_token_is_read_from_its_file_and_must_be_hard_to_guess(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"\n{TOKEN}\n")
    assert read_token(file) == TOKEN
    assert read_token(None) == ""
    for bad in ("short", "", "two words of enough characters"):
        file.write_text(bad)
        with pytest.raises(UsageProblem):
            read_token(file)
    with pytest.raises(EnvironmentProblem):
        read_token(tmp_path / "nowhere")
    file.write_bytes(b"\xff" * 20)
    with pytest.raises(EnvironmentProblem):
        read_token(file)


# The command


def test_the_command_refuses_before_anything_is_loaded(tmp_path: Path) -> None:
    done = subprocess.run(
        [LUNGLINE, "serve", "--host", "0.0.0.0"],  # noqa: S104
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    assert "--token-file" in done.stderr
    assert not (tmp_path / ".lungline").exists()


def test_the_service_needs_neither_zenml_nor_the_pipelines() -> None:
    program = "import sys, json, deploy.serving.server; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {"zenml", "pipelines", "steps", "evidently", "great_expectations"}
