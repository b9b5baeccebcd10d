"""Scoring pictures with a bundle: the evaluation's probabilities, the frozen thresholds, a reason for every refusal."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_contracts.errors import ModelGateError, UsageProblem
from data_contracts.images import DecodeLimits, UnreadableImage, read_image
from data_contracts.ontology import NIH_FINDINGS
from models.evaluation.predictions import predict_probabilities
from models.evaluation.results import Estimate, OperatingPoint, RuleIn
from models.registry.bundle import ModelBundle
from models.scoring.given_images import given_images
from models.scoring.predict import output_columns, predict_images
from tests.unit.test_bundle import CLASSES, SIZE, _network, make_history, make_model, make_spec
from tests.unit.test_input_checks import chest

UNKNOWN = Estimate(value=None, n=0, undefined="not asked for")


def content(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


def pictures(n: int) -> list[bytes]:
    draw = np.random.default_rng(0)
    return [content(draw.integers(0, 256, (40, 48)).astype(np.uint8)) for _ in range(n)]


def points(thresholds: Mapping[str, float]) -> dict[str, OperatingPoint]:
    shared = {"target_sensitivity": 0.95, "sensitivity": UNKNOWN, "specificity": UNKNOWN, "assured": True}
    return {name: OperatingPoint(threshold=value, **shared) for name, value in thresholds.items()}


def rule_ins(thresholds: Mapping[str, float]) -> dict[str, RuleIn]:
    shared = {"target_specificity": 0.98, "sensitivity": UNKNOWN, "specificity": UNKNOWN, "assured": True}
    return {name: RuleIn(threshold=value, **shared) for name, value in thresholds.items()}


def make_bundle(folder: Path, **changes: object) -> ModelBundle:
    return ModelBundle.write(folder, make_model(), make_spec(**changes), make_history())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    return make_bundle(tmp_path_factory.mktemp("scoring") / "bundle", operating_points={})


def probabilities(answers: pd.DataFrame) -> np.ndarray:
    return answers[[name for name in answers if name.startswith("p_")]].to_numpy(np.float64)


# Probabilities


def test_a_picture_gets_the_probabilities_it_has_in_an_evaluation(tmp_path: Path) -> None:
    warm = make_bundle(tmp_path / "bundle", temperature=2.5)
    given = pictures(5)
    answers = predict_images(warm, given)
    store = np.stack([read_image(one, size=SIZE, limits=DecodeLimits()).pixels for one in given])
    expected = predict_probabilities(
        warm.load_model(), store, np.arange(5), warm.spec.preprocessing, temperature=2.5
    )
    np.testing.assert_array_equal(probabilities(answers), expected)
    assert not np.allclose(expected, probabilities(predict_images(make_bundle(tmp_path / "cold"), given)))


def test_the_rows_follow_the_order_given_whatever_the_batch_size(bundle: ModelBundle) -> None:
    given = [*pictures(5), b"", *reversed(pictures(5))]
    together, apart = predict_images(bundle, given), predict_images(bundle, given, batch_size=2)
    np.testing.assert_allclose(probabilities(together), probabilities(apart), atol=1e-6)
    assert together.drop(columns=[c for c in together if c.startswith("p_")]).equals(
        apart.drop(columns=[c for c in apart if c.startswith("p_")])
    )
    assert list(together["image_id"][:5]) == list(together["image_id"][:5:-1])
    assert together["image_id"][5] == ""


def test_a_network_that_is_loaded_already_is_used(bundle: ModelBundle) -> None:
    other = make_model(seed=1).eval()
    given = pictures(1)
    with_other = probabilities(predict_images(bundle, given, model=other))
    assert not np.allclose(with_other, probabilities(predict_images(bundle, given)))


def test_no_pictures_give_a_table_without_rows(bundle: ModelBundle) -> None:
    answers = predict_images(bundle, [])
    assert len(answers) == 0
    assert list(answers.columns) == list(output_columns(bundle.spec))
    assert answers["p_covid19"].dtype == np.float64


def test_what_is_doubtful_about_a_picture_is_said_and_it_is_answered_all_the_same(bundle: ModelBundle) -> None:
    answers = predict_images(bundle, [content(chest()), content(255 - chest())])
    assert list(answers["flags"]) == ["", "inversion_suspected"]
    assert not np.isnan(probabilities(answers)).any()
    assert list(answers["refused"]) == ["", ""]


def test_a_bundle_changed_since_it_was_opened_answers_nothing(tmp_path: Path) -> None:
    changed = make_bundle(tmp_path / "bundle")
    with (changed.folder / "weights.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x7f")
    with pytest.raises(ModelGateError, match="was changed"):
        predict_images(changed, pictures(1))


# Refusals


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (b"", "empty file"),
        (b"<html>not found</html>", "looks like an HTML page"),
        (b"GIF89a" + b"\0" * 40, "format not allowed: GIF"),
        (pictures(1)[0][:200], "truncated"),
        (content(np.full((40, 40), 9, np.uint8)), "no contrast"),
        (content(chest(16)), "below minimum size 32 px"),
        (Path("/nowhere/film.png"), "No such file"),
        (Path("/"), "not a regular file"),
        (UnreadableImage("said before"), "said before"),
    ],
)
def test_a_picture_that_cannot_be_read_is_a_row_with_the_reason(
    bundle: ModelBundle, given: bytes | Path, reason: str
) -> None:
    good = pictures(1)[0]
    answers = predict_images(bundle, [good, given, good])
    assert list(answers["refused"] == "") == [True, False, True]
    assert reason in answers["refused"][1]
    assert np.isnan(probabilities(answers)[1]).all()
    assert set(answers.loc[1].drop([c for c in answers if c.startswith("p_")] + ["refused"])) == {""}
    assert not np.isnan(probabilities(answers)[[0, 2]]).any()


# Thresholds


def test_calls_follow_the_operating_points_and_between_the_thresholds_a_person_decides(tmp_path: Path) -> None:
    given = pictures(1)
    covid, normal, _ = probabilities(predict_images(make_bundle(tmp_path / "plain"), given))[0]
    answers = predict_images(
        make_bundle(
            tmp_path / "bundle",
            operating_points=points({"covid19": covid, "normal": np.nextafter(normal, 1)}),
            rule_in=rule_ins({"covid19": np.nextafter(covid, 1), "normal": 0.99}),
        ),
        given,
    )
    row = answers.loc[0]
    assert (row["call_covid19"], row["call_normal"], row["call_pneumothorax"]) == ("positive", "negative", "")
    assert row["abstain"] == "covid19"  # on its operating point, just below its rule-in threshold


@pytest.mark.parametrize("rule_in", [0.0, "at the probability"])
def test_a_class_that_is_ruled_in_is_left_to_nobody(tmp_path: Path, rule_in: float | str) -> None:
    given = pictures(1)
    covid = probabilities(predict_images(make_bundle(tmp_path / "plain"), given))[0, 0]
    bundle = make_bundle(
        tmp_path / "bundle",
        operating_points=points({"covid19": covid}),
        rule_in=rule_ins({"covid19": covid if isinstance(rule_in, str) else rule_in}),
    )
    row = predict_images(bundle, given).loc[0]
    assert (row["call_covid19"], row["abstain"]) == ("positive", "")


def test_the_most_probable_class_is_predicted(bundle: ModelBundle) -> None:
    answers = predict_images(bundle, pictures(3))
    assert list(answers["predicted"]) == [CLASSES[k] for k in probabilities(answers).argmax(axis=1)]


@pytest.mark.parametrize(
    ("thresholds", "predicted"),
    [
        (dict.fromkeys(NIH_FINDINGS, 1.1), "none"),
        ({**dict.fromkeys(NIH_FINDINGS, 1.1), "hernia": 0.0, "mass": 0.0}, "mass|hernia"),
        (dict.fromkeys(NIH_FINDINGS[1:], 1.1), ""),
        ({"edema": 0.0}, "edema"),
        ({}, ""),
    ],
    ids=["all negative", "two findings", "one class open", "one positive, others open", "all open"],
)
def test_findings_are_the_classes_called_and_none_only_where_all_are_negative(
    tmp_path: Path, thresholds: dict[str, float], predicted: str
) -> None:
    by_lower = {name.lower(): name for name in NIH_FINDINGS}
    named = {by_lower[name.lower()]: value for name, value in thresholds.items()}
    spec = make_spec(
        output="sigmoid", task="nih-14", class_names=list(NIH_FINDINGS), operating_points=points(named)
    )
    bundle = ModelBundle.write(tmp_path / "bundle", _network(14), spec, make_history())
    assert predict_images(bundle, pictures(1))["predicted"][0].lower() == predicted


# What callers hand over

PNG = content(chest())
JPEG = content(chest(), "JPEG")
TEXT = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    "request_",
    [
        TEXT,
        PNG,
        [TEXT],
        (PNG,),
        [{"image": TEXT}],
        {"image": TEXT},
        {"image": [TEXT]},
        pd.Series([TEXT]),
        np.array([TEXT]),
        pd.DataFrame({"patient": ["x"], "image": [TEXT]}),
        [f"data:image/png;base64,{TEXT}"],
        ["\n".join(TEXT[i : i + 76] for i in range(0, len(TEXT), 76))],
    ],
)
@pytest.mark.parametrize("paths", [True, False])
def test_a_picture_is_found_in_every_form_of_request(request_: object, paths: bool) -> None:
    assert given_images(request_, paths=paths) == [PNG]


def test_the_base64_of_a_jpeg_is_no_path_although_it_begins_like_one() -> None:
    text = base64.b64encode(JPEG).decode()
    assert text.startswith("/9j/")
    assert given_images([text], paths=True) == [JPEG]


def test_a_file_is_read_from_its_path_even_where_its_name_might_be_base64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film").write_bytes(PNG)
    assert base64.b64decode("film", validate=True)
    assert given_images(["film", Path("film"), "no/such.png"], paths=True) == [
        Path("film"),
        Path("film"),
        Path("no/such.png"),
    ]


def test_where_paths_are_not_read_no_file_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "film").write_bytes(PNG)
    (tmp_path / "film.png").write_bytes(PNG)
    there, absent, by_chance = given_images(["film.png", "nofilm.png", "film"], paths=False)
    assert isinstance(there, UnreadableImage)
    assert isinstance(absent, UnreadableImage)
    assert there.reason == absent.reason == "not base64 (paths are not read here)"
    assert by_chance == base64.b64decode("film")


@pytest.mark.parametrize("value", [None, float("nan"), 7, "", [], {"picture": TEXT}, "a\0b.png"])
def test_what_is_no_picture_at_all_is_refused_in_its_row(value: object) -> None:
    refused, good = given_images([value, TEXT], paths=True)
    assert isinstance(refused, UnreadableImage)
    assert good == PNG


@pytest.mark.parametrize("text", ["ä.png", "x" * 5000, "x" * 5001, "https://example.org/film.png"])
def test_no_text_makes_scoring_fail(bundle: ModelBundle, text: str) -> None:
    assert predict_images(bundle, given_images([text], paths=True))["refused"][0]


@pytest.mark.parametrize(
    "request_",
    [pd.DataFrame({"picture": [TEXT]}), {"picture": TEXT}, 7, None],
    ids=["table", "record", "int", "none"],
)
def test_a_request_without_pictures_says_where_they_are_looked_for(request_: object) -> None:
    with pytest.raises(UsageProblem, match="image"):
        given_images(request_, paths=True)
