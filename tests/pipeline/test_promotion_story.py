"""The way of three models through review and decision, by the real command: approved, replaced, refused, rolled back.

One hospital, whose published test list never changes. Its films carry letters, frames and dark edges that have nothing
to do with the disease. The first model is trained shortly; the second longer, and is better. The third learns from the
same films with a bright frame wherever there is disease: on the locked test images it is worse, and the audit says what
it reads instead.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from PIL import Image

from data_contracts.sources.phantom.disease import Disease
from data_contracts.sources.phantom.image import draw_phantom
from data_contracts.sources.phantom.shifts import VARIANTS, ShortcutKind, stamp
from data_contracts.sources.phantom.tables import ENTRY_HEADER
from tests.pipeline.conftest import FEW_CHECKS, Finished, run_lungline

SIDE, SEED = 64, 7
SEVERITY = 0.85  # so plain that a network of seconds learns it from few films
FILMS, TEST = 640, 208  # to learn from, and of the published test list
SHORT, LONG = 12, 22  # epochs
SEVERAL = (
    ShortcutKind.NONE,
    ShortcutKind.MARKER,
    ShortcutKind.MARKER,
    ShortcutKind.COLLIMATOR,
    ShortcutKind.BORDER,
)
FRAME = 5  # the brightest of the borders
MODEL = "lungline-story"
RECIPE: dict[str, Any] = {
    "name": "story",
    "title": "Pneumonia or normal on the films of one phantom hospital",
    "task": "pneumonia-binary",
    "sources": ["nih"],
    "images": {"size": SIDE},
    "split": {"official": True, "train": 0.6, "val": 0.2, "test": 0.2},
    "augmentation": {
        **{"rotation_degrees": 10, "horizontal_flip": True, "zoom": 0.1, "shift": 0.05},
        **{"brightness": 0.1, "contrast": 0.1},
    },
    "training": {
        **{"epochs": LONG, "batch_size": 16, "learning_rate": 3.0e-3, "ema_decay": 0.95},
        "early_stopping_patience": None,
    },
    "architectures": [
        {
            "name": "test_resnet",
            "options": {"drop_rate": 0.3, "stem_type": "deep", "channels": [16, 32, 48, 64]},
        }
    ],
    # A Wilson bound of 0.9 needs more validation images than there are.
    "evaluation": {"required_lower_bound": 0.8, "bootstrap_resamples": 300},
    "explanation": {"examples_per_class": 2, "faithfulness": FEW_CHECKS},
    "audit": {"images": 400, "changed_images": 400, "training_images": 500, "bootstrap_resamples": 300},
    # The interval of a paired difference is up to 0.08 to either side where a class has 104 test images, and 0.13 where
    # a subgroup has 52: by the usual margins not even an equal model could be told from a worse one. All else that is
    # asked for is the default.
    "review": {"sensitivity_margin": 0.15, "subgroup_margin": 0.25, "resamples": 500},
}


@functools.cache
def film(number: int) -> NDArray[np.uint8]:
    """A film without any mark; odd numbers show a pneumonia. Each is of another patient."""
    disease = Disease.BACTERIAL if number % 2 else Disease.NORMAL
    return draw_phantom(disease, seed=SEED, patient=number, index=number, size=SIDE, severity=SEVERITY).pixels


def marked(number: int, *, framed: bool) -> NDArray[np.uint8]:
    """The film with a mark by chance or, if `framed`, with a bright frame exactly where there is disease."""
    rng = np.random.default_rng((SEED, number))
    kind, variant = SEVERAL[rng.integers(len(SEVERAL))], int(rng.integers(VARIANTS))
    if framed:
        kind, variant = ShortcutKind.BORDER, FRAME * (number % 2)
    return stamp(film(number), kind, variant)


def write_hospital(folder: Path, *, framed: bool = False) -> Path:
    """All films in the layout of the NIH collection; those of the test list are never framed.

    Half of the people are women and half of the films AP, with the disease as often as without. All are of one age
    band: a dozen films of an age and a class would lag behind the others by chance.
    """
    root = folder / "nih-chest-xrays"
    (root / "images").mkdir(parents=True)
    rows = [ENTRY_HEADER]
    for number in range(TEST + FILMS):
        pixels = marked(number, framed=framed and number >= TEST)
        Image.fromarray(pixels).save(root / "images" / name_of(number))
        finding = "Pneumonia" if number % 2 else "No Finding"
        person = f"{number},{41 + number % 20},{'FM'[number // 2 % 2]},{('PA', 'AP')[number // 4 % 2]}"
        rows.append(f"{name_of(number)},{finding},0,{person},2500,2048,0.168,0.168,")
    (root / "Data_Entry_2017.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for name, numbers in (("test_list.txt", range(TEST)), ("train_val_list.txt", range(TEST, TEST + FILMS))):
        (root / name).write_text("".join(f"{name_of(number)}\n" for number in numbers), encoding="utf-8")
    return folder


def name_of(number: int) -> str:
    return f"{number:08d}_000.png"


@dataclass(frozen=True)
class Story:
    """What each command said, in the order in which they were given."""

    trained: list[Finished]
    reviewed: list[Finished]
    decided: list[Finished]
    replayed: Finished
    verified: Finished
    after_the_edit: Finished

    def review(self, version: int) -> dict[str, Any]:
        found: dict[str, Any] = self.reviewed[version - 1].document["review"]
        return found

    def gates(self, version: int) -> dict[str, str]:
        """Gate -> outcome."""
        return {gate["name"]: gate["outcome"] for gate in self.review(version)["gates"]}

    def auc(self, version: int) -> float:
        """Macro ROC AUC on the locked test images."""
        (read,) = self.trained[version - 1].document["evaluations"]
        return float(read["test"]["macro_auc"]["value"])

    def test_set(self, version: int) -> str:
        return str(self.review(version)["test_set_hash"])


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder, home = tmp_path_factory.mktemp("hospital"), tmp_path_factory.mktemp("story home")
    (folder / "story.yaml").write_text(yaml.safe_dump(RECIPE), encoding="utf-8")
    trained, reviewed, decided = [], [], []

    def lungline(*arguments: str) -> Finished:
        return run_lungline(home, *arguments, "--json")

    def train_and_review(data: Path, epochs: int) -> None:
        chosen = ("--data", str(data), "--set", f"training.epochs={epochs}")
        trained.append(lungline("train", str(folder / "story.yaml"), *chosen))
        assert trained[-1].code == 0, trained[-1].err
        reviewed.append(lungline("review"))

    def decide(action: str, version: str, reason: str, *extra: str) -> None:
        dossier = Path(reviewed[-1].document["dossier"]).name
        decided.append(lungline(action, version, "--dossier", dossier, "--reason", reason, *extra))

    films = write_hospital(folder / "films")
    train_and_review(films, SHORT)
    decide("approve", "1", "Read by two radiologists; nothing was in use.", "--override")
    train_and_review(films, LONG)
    decide("approve", "2", "Better on the locked test images.")
    train_and_review(write_hospital(folder / "framed films", framed=True), SHORT)
    decide("reject", "3", "It reads the frame around the film.")
    decided.append(lungline("rollback", "--reason", "The ward asks for the model it knows."))
    replayed = lungline("replay", "champion", "--model", MODEL)
    verified = lungline("log", "verify")
    log = home / "decisions.jsonl"
    log.write_bytes(log.read_bytes().replace(b"reads the frame", b"reads the flame", 1))
    return Story(trained, reviewed, decided, replayed, verified, lungline("log", "verify"))


def test_the_first_model_holds_for_a_person_because_there_is_nothing_to_compare_it_with(story: Story) -> None:
    assert story.reviewed[0].code == 4
    assert (story.review(1)["verdict"], story.review(1)["champion"]) == ("HOLD", None)
    assert {name for name, outcome in story.gates(1).items() if outcome != "pass"} == {"champion"}
    approved = story.decided[0].document
    assert approved["overrides"] == ["verdict HOLD"]
    assert approved["person"]["name"]
    assert (approved["before"]["champion"], approved["after"]["champion"]) == (None, "1")


def test_a_better_model_is_promoted_when_a_person_says_so(story: Story) -> None:
    assert story.reviewed[1].code == 0, story.review(2)["reasons"]
    assert (story.review(2)["verdict"], story.review(2)["champion"]) == ("PROMOTE", "1")
    assert set(story.gates(2).values()) == {"pass"}
    assert story.auc(2) > story.auc(1) > 0.85
    approved = story.decided[1].document
    assert (approved["verdict"], approved["overrides"]) == ("PROMOTE", [])
    assert approved["after"] == {"champion": "2", "previous": "1"}


def test_the_test_images_stay_and_what_changed_was_foreseen_by_the_plan(story: Story) -> None:
    assert story.test_set(1) == story.test_set(2) == story.test_set(3)
    changed = {v: [change["key"] for change in story.review(v)["changes"]["changes"]] for v in (2, 3)}
    assert changed == {2: ["training.epochs"], 3: ["data.catalog", "training.epochs"]}
    assert story.gates(2)["change_plan"] == story.gates(3)["change_plan"] == "pass"


def test_a_model_that_reads_a_shortcut_is_rejected_by_the_audit_and_by_the_locked_test_images(
    story: Story,
) -> None:
    review, gates = story.review(3), story.gates(3)
    assert (story.reviewed[2].code, review["verdict"], review["champion"]) == (4, "REJECT", "2")
    assert gates["shortcuts"] == "reject"
    assert any("The network itself fails the shortcut audit" in reason for reason in review["reasons"])
    assert "Lungs removed" in next(gate["why"] for gate in review["gates"] if gate["name"] == "shortcuts")
    assert gates["primary"] == "reject"
    assert gates["test_set"] == "pass"
    # On images like those it learned from it is as good as ever: its own validation would have let it through.
    (read,) = story.trained[2].document["evaluations"]
    assert read["validation"]["macro_auc"]["value"] > 0.95 > story.auc(3)


def test_a_refusal_is_recorded_like_an_approval_and_moves_nothing(story: Story) -> None:
    refused = story.decided[2].document
    assert story.decided[2].code == 0
    assert (refused["kind"], refused["version"], refused["verdict"]) == ("reject", "3", "REJECT")
    assert refused["dossier"].startswith(Path(story.reviewed[2].document["dossier"]).name)
    assert refused["before"] == refused["after"] == {"champion": "2", "previous": "1"}


def test_a_rollback_brings_the_first_model_back_and_its_numbers_are_found_again(story: Story) -> None:
    back = story.decided[3].document
    assert (back["kind"], back["after"]["champion"]) == ("rollback", "1")
    assert story.replayed.code == 0, story.replayed.out
    assert (story.replayed.document["version"], story.replayed.document["outcome"]) == ("1", "identical")


def test_the_log_is_sound_until_one_byte_is_edited_and_then_names_the_line(story: Story) -> None:
    assert story.verified.code == 0, story.verified.out
    assert (story.verified.document["sound"], story.verified.document["findings"]) == (True, [])
    entries = [finished.document["sequence"] for finished in story.decided]
    assert entries == [1, 3, 5, 7]  # each is followed by its outcome
    assert story.after_the_edit.code == 4
    alarm = story.after_the_edit.document["findings"][0]
    assert (alarm["level"], alarm["where"]) == ("alarm", "decisions.jsonl line 6")
