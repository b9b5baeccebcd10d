"""The pages beside the run report: the five answers, one page an architecture, checklists and JSON. All made up."""

from __future__ import annotations

import json
import re
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from data_contracts.ontology import task_named
from models.audit.descriptions import DESCRIPTIONS
from models.audit.results import LIMITS, AuditItem, AuditReport, overall
from models.evaluation.baselines import BORDER, PIXELS
from models.evaluation.evaluate import evaluate
from models.evaluation.predictions import Predictions
from models.evaluation.results import Estimate, Evaluation, Evaluations
from models.evaluation.selection import Selection
from models.evaluation.settings import EvaluationSettings
from models.evaluation.subgroups import subgroups
from models.evaluation.validation_choices import choose_on_validation
from models.explanation.results import (
    CamItem,
    DeletionInsertion,
    Explanation,
    Faithfulness,
    LungEnergy,
    OutcomeItem,
    PointingGame,
    SanityCheck,
)
from models.reports.answers import answers, trust
from models.reports.checklist_page import known_facts
from models.reports.curve_plots import precision_recall_plot
from models.reports.data_section import Confounded, Counts, DataSection, Identity
from models.reports.run_pages import render_run_pages
from models.reports.run_report import ArchitectureSection, Reproduction, RunReport, render_run_report
from models.training.history import EpochRecord, TrainingHistory

TASK = task_named("covid-bacterial-pneumothorax-normal")
TITLES = {one.name: one.title for one in TASK.classes}
SETTINGS = EvaluationSettings(bootstrap_resamples=100)
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
VOID = {"meta", "img", "br"}


class Tags(HTMLParser):
    """The open tags that never closed, the links, the ids, and the visible text of a page."""

    def __init__(self, written: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.links: set[str] = set()
        self.ids: list[str] = []
        self.captions = self.tables = 0
        self.parts: list[str] = []
        self.feed(written)
        self.text = " ".join(" ".join(self.parts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.captions += tag == "caption"
        self.tables += tag == "table"
        if "id" in found:
            self.ids.append(found["id"] or "")
        if tag == "a":
            self.links.add(found["href"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.parts.append(data)


def _frame(images: int) -> pd.DataFrame:
    number = np.arange(images)
    return pd.DataFrame(
        {
            "image_id": [f"{i:064x}" for i in number],
            "patient": [f"nih:patient-{i}" for i in number],
            "group_id": [f"g{i}" for i in number],
            "source": np.where(number % 2, "nih", "radiography"),
            "split": np.array(["val", "test", "external"])[number % 3],
            "label": np.array(TASK.class_names)[number // 3 % len(TITLES)],
            "age": np.where(number % 5, 50.0, 3.0),
            "sex": "F",
            "view": "PA",
            "format": "PNG",
            "mode": "L",
            "width": 1024,
            "height": 1024,
            "label_method": "folder",
        }
    )


@cache
def evaluated(name: str, skill: float, *, elsewhere: float | None = None) -> Evaluations:
    """Random predictions that know the label by `skill`; on external images by `elsewhere`, or without any."""
    frame = _frame(720)
    labels = pd.Categorical(frame["label"], TASK.class_names).codes.astype(int)
    logits = np.random.default_rng(3).normal(size=(len(frame), len(TITLES)))
    known = np.where(frame["split"] == "external", skill if elsewhere is None else elsewhere, skill)
    logits[np.arange(len(frame)), labels] += known
    odds = np.exp(logits)
    predictions = Predictions.of(
        frame, odds / odds.sum(axis=1, keepdims=True), TASK.class_names, multi_label=False
    )
    validation = predictions.of_split("val")
    chosen = choose_on_validation(
        validation.truth, validation.probabilities, TASK.class_names, "softmax", SETTINGS
    )

    def read(split: str) -> Evaluation:
        return evaluate(
            predictions,
            architecture=name,
            task=TASK,
            operating_points=chosen.operating_points,
            rule_in=chosen.rule_in,
            temperature=chosen.temperature,
            split=split,
            settings=SETTINGS,
        )

    tables = subgroups(
        predictions, frame, task=TASK, operating_points=chosen.operating_points, split="test", settings=SETTINGS
    )
    return Evaluations(
        validation=read("val"),
        test=read("test").model_copy(update={"subgroups": tables, "readings": 2}),
        external=None if elsewhere is None else read("external"),
    )


def audited(**verdicts: str) -> AuditReport:
    """A battery that passes everywhere but where a verdict is given."""
    number = Estimate(value=0.5, low=0.4, high=0.6, n=90, method="group-bootstrap")
    items = [
        AuditItem(
            **{"name": name, "title": one.title, "about": one.about, "question": one.question},
            **{"measure": one.measure, "estimate": number, "n": 90, "limits": LIMITS[name]},
            **{"verdict": verdicts.get(name, "pass"), "reason": "because of its interval"},
        )
        for name, one in DESCRIPTIONS.items()
    ]
    return AuditReport(
        architecture="net", n=90, items=items, verdict=overall(items), statements=["Not that none is used."]
    )


def explained(sanity: str = "passed", lungs: str = "passed") -> Explanation:
    nothing = Estimate(value=None, n=0, undefined="not measured here")
    shown = {"image_id": "c0ffee" * 10, "truth": "covid19", "all_zero": False, "picture_png_base64": PIXEL}
    return Explanation(
        architecture="net/2",
        layer="layer4",
        method="closed form",
        cells=(7, 7),
        items=[CamItem(predicted="covid19", probability=0.9, outcome="correct", **shown)],
        at_operating_point=[
            OutcomeItem(
                class_name="covid19", outcome="false negative", of=3, probability=0.2, threshold=0.3, **shown
            )
        ],
        faithfulness=Faithfulness(
            lung_energy=LungEnergy(verdict=lungs, statement="Lung energy was looked at.", classes=[]),
            pointing_game=PointingGame(verdict="not evaluated", statement="There are no boxes.", classes=[]),
            deletion_insertion=DeletionInsertion(
                verdict="not evaluated",
                statement="Deletion was not tried.",
                saliencies=[],
                gain_over_random=nothing,
                gain_over_centre=nothing,
            ),
        ),
        sanity=SanityCheck(
            verdict=sanity,
            statement="The sanity check was made.",
            stages=[],
            baseline_spearman=None,
            baseline_ssim=None,
        ),
        statements=["Not a lesion localisation."],
    )


def section(skill: float = 2.5, *, elsewhere: float | None = 2.4, **changes: object) -> ArchitectureSection:
    read = evaluated("net/2", skill, elsewhere=elsewhere)
    points = {one.name: one.operating_point for one in read.test.classes if one.operating_point}
    record = EpochRecord(
        **{"epoch": 1, "learning_rate": 0.1, "train_loss": 1.0, "val_loss": float("nan")},
        **{"val_macro_auc": 0.8, "val_accuracy": 0.5, "val_reconstruction_loss": 0.02},
    )
    built = ArchitectureSection(
        name="net/2",
        parameters=1000,
        history=TrainingHistory(epochs=[record], best_epoch=1, notes=["It was resumed after epoch 1."]),
        evaluation=read.test,
        external=read.external,
        validation=read.validation,
        operating_points=points,
        initial_weights={"kind": "random"},
        audit=audited(),
        cam_sheet=explained(),
    )
    return built.model_copy(update=changes)


def report(one: ArchitectureSection, *, pixels: float = 0.7, border: float = 0.0, **data: object) -> RunReport:
    described = DataSection(
        counts=Counts(offered=720, kept=720, quarantined=0, duplicate=0),
        quarantine=[],
        duplicates=[],
        label_conflict_groups=0,
        label_conflicts=[],
        composition=[],
        excluded=[],
        identity=Identity(groups=720, largest_group=1, without_patient_id=0, groups_in_several_splits=0),
        split_settings={},
    )
    return RunReport(
        title="Four classes",
        recipe_name="merged",
        recipe_yaml="name: merged\n",
        task_title=TASK.title,
        class_titles=TITLES,
        selection=Selection(winner=one.name, primary_metric="macro_auc", why="highest", ranking=[one.name]),
        architectures=[one],
        baselines=[evaluated(PIXELS, pixels), evaluated(BORDER, border)],
        data=described.model_copy(update=data),
        reproduction=Reproduction(
            commands=["lungline train merged"], data_hash="d" * 64, bundle_hash="b" * 64, seed=7, versions={}
        ),
    )


@pytest.fixture(scope="module")
def good() -> RunReport:
    return report(section())


@pytest.fixture(scope="module")
def pages(good: RunReport) -> dict[str, str]:
    return {"report.html": render_run_report(good), **render_run_pages(good)}


def marks(content: RunReport) -> list[str]:
    return [one.mark for one in answers(content.winner, content)]


def changed(content: RunReport, **changes: object) -> RunReport:
    """The same run with another outcome of its architecture."""
    return content.model_copy(update={"architectures": [content.winner.model_copy(update=changes)]})


def test_a_model_that_nothing_speaks_against_is_called_so(good: RunReport) -> None:
    assert marks(good) == ["good"] * 5
    assert trust("net", answers(good.winner, good))[:2] == (
        "good",
        "Nothing that was measured speaks against net.",
    )


def test_a_network_that_small_pictures_beat_is_not_to_be_trusted(good: RunReport) -> None:
    content = good.model_copy(update={"baselines": [evaluated(PIXELS, 3.0)]})
    first = answers(content.winner, content)[0]
    assert first.mark == "bad"
    assert "no network here does better" in " ".join(first.sentences)
    assert trust("net", answers(content.winner, content))[1] == (
        "Do not trust net yet: no network beat a regression on tiny pictures."
    )


def test_without_a_comparison_the_lead_is_not_taken_for_skill(good: RunReport) -> None:
    content = good.model_copy(update={"baselines": []})
    assert marks(content)[0] == "caution"


def test_a_border_that_does_nearly_as_well_is_taken_for_cheating(good: RunReport) -> None:
    content = good.model_copy(update={"baselines": [*good.baselines[:1], evaluated(BORDER, 1.8)]})
    last = answers(content.winner, content)[-1]
    assert last.mark == "bad"
    assert any("outer 5 % of the pictures alone reaches" in sentence for sentence in last.sentences)


def test_a_failed_audit_names_its_tests(good: RunReport) -> None:
    content = changed(good, audit=audited(marker_sensitivity="fail", metadata_only="warn"))
    last = answers(content.winner, content)[-1]
    assert (last.mark, last.reservation) == ("bad", "the shortcut audit failed (markers)")
    assert "Warned: Metadata only." in last.sentences


@pytest.mark.parametrize(
    ("changes", "place", "mark"),
    [
        ({"audit": None}, 4, "caution"),
        ({"audit": audited(consistency="warn")}, 4, "caution"),
        ({"audit": audited(border_only="not evaluated")}, 4, "caution"),
        ({"external": None}, 2, "caution"),
        ({"cam_sheet": None}, 3, "caution"),
        ({"cam_sheet": explained(sanity="failed")}, 3, "bad"),
        ({"cam_sheet": explained(lungs="failed")}, 3, "caution"),
        ({"cam_sheet": explained(sanity="inconclusive")}, 3, "caution"),
    ],
)
def test_what_was_not_shown_is_not_good(
    good: RunReport, changes: dict[str, object], place: int, mark: str
) -> None:
    found = marks(changed(good, **changes))
    assert found[place] == mark
    assert found[:place] + found[place + 1 :] == ["good"] * 4


def test_a_loss_on_external_images_says_how_much(good: RunReport) -> None:
    worse = evaluated("net/2", 2.5, elsewhere=0.5)
    third = answers(changed(good, external=worse.external).winner, good)[2]
    assert (third.mark, third.word) == ("bad", "loses much elsewhere")
    assert "a difference of −0." in third.sentences[0]


def test_a_class_without_external_images_does_not_hide_the_fall_of_the_others(good: RunReport) -> None:
    worse = evaluated("net/2", 2.5, elsewhere=0.5).external
    assert worse is not None
    undefined = Estimate(value=None, n=worse.n, undefined="no image of class normal")
    classes = [one.model_copy(update={"n_positive": 0}) if one.name == "normal" else one for one in worse.classes]
    external = worse.model_copy(update={"primary": undefined, "classes": classes})
    third = answers(changed(good, external=external).winner, good)[2]
    assert third.mark == "bad"
    assert "Of the classes that external images show," in third.sentences[1]


def test_classes_of_one_source_and_leaks_are_said(good: RunReport) -> None:
    waived = [Confounded(class_title="Pneumothorax", reason="Only one source names it.")]
    confounded = good.model_copy(update={"data": good.data.model_copy(update={"confounded": waived})})
    assert marks(confounded)[4] == "caution"
    identity = good.data.identity.model_copy(update={"groups_in_several_splits": 2})
    leaking = good.model_copy(update={"data": good.data.model_copy(update={"identity": identity})})
    assert answers(leaking.winner, leaking)[4].reservation == "the same patients are in training and test"


def test_every_page_is_sound_and_every_link_leads_somewhere(pages: dict[str, str]) -> None:
    assert sorted(pages) == ["architecture-net_2.html", "checklist.html", "report.html", "report.json"]
    read = {name: Tags(text) for name, text in pages.items() if name.endswith(".html")}
    for name, page in read.items():
        assert page.wrong == page.open == []
        assert page.tables == page.captions > 0
        assert len(page.ids) == len(set(page.ids))
        for link in page.links:
            file, _, place = link.partition("#")
            assert (file or name) in pages
            assert not place or place in read[file or name].ids


def test_the_page_of_an_architecture_shows_what_was_measured(pages: dict[str, str]) -> None:
    text = Tags(pages["architecture-net_2.html"]).text
    for words in (
        *("How good?", "How sure?", "For whom?", "Why?", "Could it be cheating?"),
        *("Matthews correlation (MCC)", "Calibration error (ECE)", "Net benefit (decision curve)"),
        *("Leaving the doubtful to a person", "Predictive values at stated shares", "Age at examination"),
        *("each class on internal test against external images", "Another collection's grey levels"),
        *("false negative", "the middle one of 3", "not a lesion localisation", "It was resumed after epoch 1."),
        *("Mean squared error of the reconstruction", "read 2 times so far", "Initial weights: kind"),
    ):
        assert words in text, words
    assert "patient-" not in text


def test_the_leaderboard_shows_the_baselines_below_the_networks(pages: dict[str, str]) -> None:
    rows = re.findall(r'<tr class="baseline">\s*<th scope="row">(.*?)</th>', pages["report.html"])
    assert rows == [PIXELS, BORDER]


def test_the_json_holds_every_number_and_no_picture(good: RunReport, pages: dict[str, str]) -> None:
    found = json.loads(pages["report.json"])
    (one,) = found["architectures"]
    test = good.winner.evaluation
    assert one["evaluation"]["macro_auc"]["value"] == test.macro_auc.value
    assert one["evaluation"]["classes"][0]["calibration"]["brier"]["low"] == test.classes[0].calibration.brier.low
    assert one["audit"]["verdict"] == "pass"
    assert one["trust"]["mark"] == "good"
    assert one["history"]["epochs"][0]["val_loss"] is None  # not a number
    assert one["explanation"]["sanity"]["verdict"] == "passed"
    assert found["baselines"][0]["test"]["architecture"] == PIXELS
    assert "picture_png_base64" not in pages["report.json"]
    assert "patient-" not in pages["report.json"]


def test_equal_runs_give_equal_pages(good: RunReport, pages: dict[str, str]) -> None:
    assert render_run_pages(good) == {name: text for name, text in pages.items() if name != "report.html"}


def test_a_checklist_item_is_answered_only_where_the_run_has_it(good: RunReport, pages: dict[str, str]) -> None:
    assert known_facts(good)["audit"] == "architecture-net_2.html#audit"
    without = changed(good, audit=None, external=None, cam_sheet=None)
    assert not {"audit", "external", "explanation", "lineage"} & set(known_facts(without))
    text = Tags(pages["checklist.html"]).text
    assert "CLAIM" in text
    assert "TRIPOD+AI" in text
    assert "needs a person" in text
    assert "it is no claim that anything conforms" in text


def test_precision_follows_from_the_roc_curve_and_the_counts() -> None:
    one = evaluated("net/2", 2.5).test.classes[0]
    drawn = str(precision_recall_plot(one))
    points = [tuple(map(float, p.split(","))) for p in re.search(r'points="([^"]+)"', drawn)[1].split()]
    # At full sensitivity everything is called positive, and precision is the share of positives.
    share = one.n_positive / (one.n_positive + one.n_negative)
    assert points[-1][0] == pytest.approx(290, abs=0.1)
    assert points[-1][1] == pytest.approx(262 - 238 * share, abs=0.1)
