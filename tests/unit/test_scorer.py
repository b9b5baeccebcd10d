"""Scoring images with a registered version: who may answer, what is refused, what is known, what is counted."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from data_contracts.errors import ModelGateError, UsageProblem
from data_contracts.images import DecodeLimits, UnreadableImage, read_image
from data_contracts.input_checks import chest_likeness
from data_contracts.workspace import Workspace
from models import architectures
from models.audit.embeddings import embed
from models.evaluation.predictions import sealed_probabilities
from models.registry.bundle import ModelBundle
from models.registry.follow import tracking_store
from models.scoring.batch import ScoringRequest, check_request, score_request
from models.scoring.champion import decided_champion, only_model
from models.scoring.files import find_files
from models.scoring.in_cache import InPieces, in_pieces
from models.scoring.log_rows import embeddings_of, log_columns, scored
from models.scoring.prediction_log import PredictionLog
from models.scoring.scorer import Scorer
from tests.served_models import NAME, approve_version, film, register_version
from tests.unit.test_bundle import SIZE, make_history, make_model, make_spec
from tests.unit.test_input_checks import chest
from tests.unit.test_scoring_call import content

NOW = datetime(2026, 3, 1, 23, 30, tzinfo=timezone(timedelta(hours=-1)))


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    folder = tmp_path_factory.mktemp("scorer") / "bundle"
    bundle = ModelBundle.write(folder, make_model(), make_spec(operating_points={}), make_history())
    return Scorer(NAME, "1", bundle, bundle.load_model())


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """One approved version and a second, the challenger."""
    made = Workspace(tmp_path_factory.mktemp("champion"))
    made.create()
    approve_version(made, register_version(made, 0))
    register_version(made, 1)
    return made


def nothing(done: int, total: int, note: str) -> None:
    pass


# Answers


def test_an_image_gets_the_numbers_of_an_evaluation_and_of_a_drift_profile(scorer: Scorer) -> None:
    given = [film(n) for n in range(5)]
    rows = scorer.score(given, origin="batch", now=NOW)
    pixels = np.stack([read_image(one, size=SIZE, limits=DecodeLimits()).pixels for one in given])
    expected = sealed_probabilities(scorer.bundle.load_model(), scorer.bundle.spec, pixels, np.arange(5))
    np.testing.assert_allclose(rows.filter(regex="^p_"), expected, atol=1e-6)
    np.testing.assert_allclose(embeddings_of(rows), embed(scorer.bundle, pixels, np.arange(5)), atol=1e-6)
    assert rows["chest_likeness"].tolist() == [chest_likeness(one) for one in pixels]


def test_a_row_has_the_columns_of_the_log_and_its_time_is_utc(scorer: Scorer) -> None:
    rows = scorer.score([film()], origin="service", now=NOW)
    assert rows.dtypes.astype(str).to_dict() == log_columns(scorer.bundle.spec.class_names)
    row = rows.loc[0]
    assert (row["scored_at"], row["taken_on"]) == ("2026-03-02T00:30:00.000Z", "2026-03-02")
    assert (row["origin"], row["model"], row["version"]) == ("service", NAME, "1")
    assert row["bundle"] == scorer.bundle.content_hash
    assert row["image_key"] == row["image_id"]


def test_a_small_network_in_pieces_answers_as_whole() -> None:
    torch.manual_seed(0)
    network = architectures.build("simple_cnn", num_classes=3, img_size=64, options={}).eval()
    pieces = in_pieces(network)
    assert isinstance(pieces, InPieces)
    images = torch.rand(5, 1, 64, 64).contiguous(memory_format=torch.channels_last)
    network.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        torch.testing.assert_close(pieces(images), network(images), atol=1e-6, rtol=0)


# Refusals


def test_what_must_not_be_scored_is_refused_with_the_reason(scorer: Scorer) -> None:
    noise = content(np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8))
    given = [
        film(),
        b"",
        content(np.full((64, 64), 9, np.uint8)),
        content(chest(16)),
        content(255 - chest(128)),
        noise,
        UnreadableImage("said before"),
    ]
    rows = scorer.score(given, origin="batch", now=NOW)
    assert rows["refused"].tolist() == [
        "",
        "empty file",
        "no contrast",
        "below minimum size 32 px: 16x16",
        "looks inverted: black and white exchanged",
        "unlike a frontal chest film",
        "said before",
    ]
    assert len(scored(rows)) == 1
    refused = rows[1:]
    assert refused.filter(regex="^p_").isna().all(axis=None)
    assert set(refused["predicted"]) | set(refused["abstain"]) == {""}
    assert {len(embedding) for embedding in refused["embedding"]} == {0}
    assert rows["image_key"][1] == hashlib.sha256(b"").hexdigest()
    assert rows["image_id"][1] == "" != rows["image_id"][4]
    assert rows["image_key"][6] == ""


# Facts


def test_facts_are_kept_and_a_patient_only_as_a_pseudonym(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUNGLINE_PATIENT_KEY", "k" * 32)
    facts = pd.DataFrame(
        {
            "source": ["north", "south"],
            "patient": ["Doe^John", None],
            "view": ["pa", "sideways"],
            "age": ["058Y", 414],
            "sex": ["F", None],
            "taken_on": ["2026-02-01", None],
        }
    )
    rows = scorer.score([film(0), film(1)], facts, origin="batch", now=NOW, taken_on="2026-02-07")
    assert rows["patient"].str.fullmatch(r"north:[0-9a-f]{16}").tolist() == [True, False]
    assert rows[["view", "sex", "taken_on"]].to_numpy().tolist() == [
        ["PA", "F", "2026-02-01"],
        ["", "", "2026-02-07"],
    ]
    assert rows["age"][0] == 58
    assert np.isnan(rows["age"][1])
    assert rows["flags"].tolist() == ["", "age_implausible"]
    assert "Doe" not in rows.to_csv()


@pytest.mark.parametrize("facts", [{"source": ["/data/doe_john"]}, {"taken_on": ["31.1.2026"]}, {"age": [1, 2]}])
def test_facts_that_cannot_be_used_are_told_without_their_values(scorer: Scorer, facts: dict[str, list]) -> None:
    with pytest.raises(UsageProblem) as problem:
        scorer.score([film()], pd.DataFrame(facts), origin="batch", now=NOW)
    assert "john" not in str(problem.value)
    assert "31.1" not in str(problem.value)


# Who answers


def test_the_decided_champion_answers_and_any_version_where_it_is_asked_for(workspace: Workspace) -> None:
    champion = Scorer.open(workspace, NAME)
    assert (champion.version, champion.bundle.content_hash) == ("1", decided_champion(workspace, NAME).bundle)
    assert Scorer.open(workspace, NAME, "2").version == Scorer.open(workspace, NAME, "challenger").version == "2"
    assert only_model(tracking_store(workspace)) == NAME
    with pytest.raises(UsageProblem, match="no '9'"):
        Scorer.open(workspace, NAME, "9")


def test_f36_a_champion_that_nobody_decided_on_answers_nothing(workspace: Workspace) -> None:
    client = tracking_store(workspace).client
    client.set_registered_model_alias(NAME, "champion", "2")
    try:
        with pytest.raises(ModelGateError, match="points to version 2; decided was version 1"):
            Scorer.open(workspace, NAME)
    finally:
        client.set_registered_model_alias(NAME, "champion", "1")


def test_without_a_champion_nobody_answers(tmp_path: Path) -> None:
    empty = Workspace(tmp_path)
    empty.create()
    with pytest.raises(ModelGateError, match="no champion"):
        Scorer.open(empty, NAME)
    with pytest.raises(ModelGateError, match="no champion"):
        only_model(tracking_store(empty))


# Files


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Three films, one of them in another format, one twice; a damaged one; what is no image."""
    folder = tmp_path / "films"
    (folder / "deeper" / ".hidden").mkdir(parents=True)
    (folder / "a.png").write_bytes(film(0))
    (folder / "deeper" / "b").write_bytes(film(1))
    (folder / "deeper" / "again.png").write_bytes(film(0))
    (folder / "damaged.png").write_bytes(film(2)[:300])
    (folder / "notes.txt").write_text("no image")
    (folder / "deeper" / ".hidden" / "c.png").write_bytes(film(3))
    return folder


def test_images_are_found_by_content_or_name_and_each_once(films: Path) -> None:
    found, others = find_files([films / "a.png", films])
    assert [path.relative_to(films).as_posix() for path in found] == [
        "a.png",
        "damaged.png",
        "deeper/again.png",
        "deeper/b",
    ]
    assert others == 1
    assert find_files([films / "notes.txt"]) == ([films / "notes.txt"], 0)


def test_what_became_of_every_file_is_counted_and_a_second_time_all_is_known(
    workspace: Workspace, films: Path
) -> None:
    log = PredictionLog.of(workspace, NAME)
    before = len(log.read().frame)
    first = score_request(workspace, NAME, ScoringRequest(paths=[films], source="north"), nothing)
    assert (first.files, first.scored, first.known, first.others) == (4, 2, 1, 1)
    assert first.refused == {"truncated": 1}
    assert sum(first.predicted.values()) == 2
    frame = log.read().frame
    assert len(frame) - before == 3
    assert set(frame["source"]) == {"north"}
    assert not any("films" in str(cell) or "damaged" in str(cell) for cell in frame.to_numpy().ravel())
    again = score_request(workspace, NAME, ScoringRequest(paths=[films]), nothing)
    assert (again.scored, again.known, again.refused) == (0, 4, {})
    assert len(log.read().frame) == len(frame)


def test_a_table_tells_of_files_below_it_or_below_a_folder_given(workspace: Workspace, films: Path) -> None:
    for number, name in enumerate(("a.png", "deeper/b")):
        (films / name).write_bytes(film(50 + number))
    table = films.parent / "facts.csv"
    table.write_text(
        "\ufefffile,taken_on,View,note\nfilms/a.png,2026-01-05,PA,x\ndeeper/b,2026-01-06,AP,y\nno.png,2026-01-07,,\n"
    )
    done = score_request(workspace, NAME, ScoringRequest(paths=[films], facts=table, source="south"), nothing)
    assert (done.scored, done.unmatched_facts) == (2, 1)
    frame = PredictionLog.of(workspace, NAME).read().frame
    told = frame[(frame["source"] == "south") & (frame["refused"] == "")]
    assert told[["taken_on", "view"]].to_numpy().tolist() == [["2026-01-05", "PA"], ["2026-01-06", "AP"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,view\na.png,PA\n", "no column 'file'"),
        ("file,view,VIEW\n", "several columns called view"),
        ("file,taken_on\na.png,yesterday\n", "line 2 has a taken_on"),
        ("file\n\xff\n", "no CSV table in UTF-8"),
    ],
)
def test_a_table_that_cannot_be_read_is_told_before_anything_is_scored(films: Path, text: str, said: str) -> None:
    table = films / "facts.csv"
    table.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageProblem, match=said):
        check_request(ScoringRequest(paths=[films], facts=table))


def test_a_path_that_is_not_there_is_a_usage_problem(tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="nothing at"):
        check_request(ScoringRequest(paths=[tmp_path / "absent"]))


# The command


def test_the_command_says_that_there_is_no_champion_or_no_such_path(tmp_path: Path) -> None:
    lungline = Path(sys.executable).with_name("lungline")
    environment = {**os.environ, "LUNGLINE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(lungline), "score", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    absent = run(str(tmp_path / "absent.png"))
    assert (absent.returncode, "There is nothing at" in absent.stderr) == (2, True), absent.stderr
    (tmp_path / "film.png").write_bytes(film())
    nobody = run(str(tmp_path / "film.png"))
    assert (nobody.returncode, "no champion" in nobody.stderr) == (4, True), nobody.stderr
