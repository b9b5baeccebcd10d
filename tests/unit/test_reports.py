"""The pages people read. All numbers, names and pictures here are made up for the test."""

from __future__ import annotations

import base64
import hashlib
import html
import re
import subprocess
import sys
from html.parser import HTMLParser

import pandas as pd
import pytest
from pydantic import ValidationError

from data_contracts.catalog import Catalog
from data_contracts.expectations.report import ValidationCheck, ValidationReport
from models.evaluation.results import ClassEvaluation, Estimate, Evaluation, OperatingPoint, RocCurve
from models.evaluation.selection import Selection
from models.explanation.results import CamItem, CamSheet
from models.reports import formatting, plots
from models.reports.data_report import DataReport, render_data_report
from models.reports.data_section import Counts, DataSection, data_section
from models.reports.figures import learning_curves
from models.reports.leaderboard import leaderboard_rows
from models.reports.run_report import ArchitectureSection, Reproduction, RunReport, render_run_report
from models.reports.svg import ticks, widened
from models.training.history import EpochRecord, TrainingHistory

TITLES = {"covid19": "COVID-19", "normal": "Normal", "pneumothorax": "Pneumothorax"}
HOSTILE = "<script>alert('x')</script>\"><img src=http://evil.example/x.png onerror=alert(1)>"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """What a browser would see: tags with attributes, visible text, captions and whether all tags close."""

    def __init__(self, written: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(written)
        self.close()
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.texts.append(data)

    def named(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def number(value: float, n: int = 40) -> Estimate:
    return Estimate(value=value, low=value - 0.05, high=min(1, value + 0.05), n=n, method="wilson")


def undefined(reason: str) -> Estimate:
    return Estimate(value=None, n=0, undefined=reason)


def one_class(name: str, title: str, auc: float) -> ClassEvaluation:
    few = name == "pneumothorax"
    point = OperatingPoint(
        threshold=0.31, target_sensitivity=0.95, sensitivity=number(0.96), specificity=number(0.8), assured=not few
    )
    return ClassEvaluation(
        name=name,
        title=title,
        n_positive=7 if few else 33,
        n_negative=40,
        positive_groups=5,
        operating_point=point,
        sensitivity=number(0.9),
        specificity=number(auc),
        ppv=undefined("nothing was called positive") if few else number(0.7),
        npv=number(0.97),
        roc_auc=undefined("all positives are one group") if few else number(auc),
        roc=None if few else RocCurve(false_positive_rate=[0, 0.1, 0.4, 1], sensitivity=[0, 0.6, 0.9, 1]),
        judgement="too few to judge" if few else "enough",
    )


def section(name: str, auc: float, titles: dict[str, str]) -> ArchitectureSection:
    classes = [one_class(key, title, auc) for key, title in titles.items()]
    records = [
        EpochRecord(
            epoch=e, learning_rate=0.1, train_loss=1 / e, val_loss=1.2 / e, val_macro_auc=auc, val_accuracy=0.5
        )
        for e in (1, 2, 3)
    ]
    item = CamItem(
        image_id="c0ffee" * 10,
        truth="covid19",
        predicted="normal",
        probability=0.61,
        outcome="wrong",
        all_zero=True,
        picture_png_base64=PIXEL,
    )
    return ArchitectureSection(
        name=name,
        parameters=6_954_956,
        history=TrainingHistory(epochs=records, best_epoch=2),
        evaluation=Evaluation(
            architecture=name,
            split="test",
            n=73,
            n_groups=60,
            without_patient_id=40,
            class_names=list(titles),
            classes=classes,
            confusion=[[25, 5, 3], [2, 30, 1], [0, 0, 7]],
            accuracy=number(0.8, 73),
            balanced_accuracy=number(0.75, 73),
            macro_auc=number(auc, 73),
            primary_metric="macro_auc",
            primary=number(auc, 73),
            notes=["Pneumothorax cannot be told apart from its source."],
        ),
        operating_points={c.name: c.operating_point for c in classes if c.operating_point},
        cam_sheet=CamSheet(architecture=name, layer="features.norm5", items=[item]),
    )


def catalog() -> Catalog:
    """Six files: one NIH patient with two images and an unreadable one, a duplicate, and a label conflict."""
    nih = {"source": "nih", "patient": "nih:00000013"}
    rows = [
        {"file": "nih/00000013_000.png", "label": "pneumothorax", "split": "train", "group_id": "g1", **nih},
        {"file": "nih/00000013_001.png", "label": "pneumothorax", "split": "test", "group_id": "g1", **nih},
        {"file": "nih/00000013_002.png", "status": "quarantined", "reason": "truncated file", **nih},
        {"file": "a/COVID-1.png", "label": "covid19", "split": "train", "nodes": "covid19", "group_id": "g2"},
        {"file": "a/COVID-2.png", "excluded": "several classes at once", "nodes": "no_finding", "group_id": "g2"},
        {"file": "a/COVID-3.png", "status": "duplicate", "reason": "same pixels as nih/00000013_000.png"},
    ]
    frame = pd.DataFrame([{"source": "radiography", "status": "kept"} | row for row in rows])
    frame["image_id"] = ["1a" * 32, "2b" * 32, "", "4d" * 32, "5e" * 32, "1a" * 32]
    frame["file_sha256"] = [f"{index}" * 64 for index in range(6)]
    frame["label_conflict"] = frame["group_id"] == "g2"
    return Catalog.of(frame)


def failed_validation() -> ValidationReport:
    check = ValidationCheck(
        name="age",
        title="Every age is possible.",
        severity="critical",
        passed=False,
        unexpected_count=21,
        unexpected=["nih/nih/00000013_001.png", "radiography/a/COVID-1.png", "lost/00000013_099.png"],
        detail="Found: nih/nih/00000013_000.png (train) = nih/nih/00000013_001.png (test).",
    )
    return ValidationReport.of("catalog", [check])


def described_data(validation: ValidationReport | None = None) -> DataSection:
    return data_section(catalog(), class_titles=TITLES, split_settings={"seed": "7"}, validation=validation)


def run_report(titles: dict[str, str] = TITLES, aucs: tuple[float, ...] = (0.83, 0.81, 0.6), **changes: object):
    names = ["densenet121", "resnet50", "simple_cnn"]
    sections = [section(name, auc, titles) for name, auc in zip(names, aucs, strict=True)]
    content = RunReport(
        title="Four classes",
        recipe_name="merged",
        recipe_yaml="training:\n  epochs: 3\n",
        task_title="COVID-19, pneumothorax or normal",
        class_titles=titles,
        selection=Selection(winner=names[0], primary_metric="macro_auc", why="highest macro_auc", ranking=names),
        architectures=sections[::-1],
        data=described_data(),
        reproduction=Reproduction(
            commands=["lungline train merged"],
            data_hash="d" * 64,
            bundle_hash="b" * 64,
            seed=7,
            versions={"torch": "2.13.0"},
            registered_name="lungline-merged",
            registered_version="3",
            registered_alias="challenger",
        ),
    )
    return content.model_copy(update=changes)


@pytest.fixture(scope="module")
def run_html() -> str:
    return render_run_report(run_report())


@pytest.fixture(scope="module")
def data_html() -> str:
    return render_data_report(
        DataReport(title="Data of merged", catalog_hash="9" * 64, data=described_data(failed_validation()))
    )


def test_pages_load_nothing_from_anywhere(run_html: str, data_html: str) -> None:
    for page_html in (run_html, data_html):
        page = Page(page_html)
        for tag, attributes in page.tags:
            assert tag not in {"link", "iframe", "object", "embed", "base", "form"}
            for name in ("src", "srcset", "action", "xlink:href", "poster", "data"):
                assert attributes.get(name, "#").startswith(("#", "data:image/png;base64,"))
            assert re.fullmatch(r"#[\w-]+|[\w.-]+\.(html|json)", attributes.get("href", "#x"))
            assert not [name for name in attributes if name.startswith("on")]
        assert "url(" not in page_html
        assert "@import" not in page_html
        (policy,) = [meta["content"] for meta in page.named("meta") if "http-equiv" in meta]
        assert policy.startswith("default-src 'none'; ")


def test_the_only_script_is_the_sorting_of_tables_and_allowed_by_its_hash(run_html: str, data_html: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", run_html, flags=re.DOTALL)
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}'" in html.unescape(run_html)
    assert Page(run_html).named("script") == [{}]
    assert Page(data_html).named("script") == []
    assert "script-src" not in data_html


def test_links_of_the_contents_lead_to_sections_of_the_page(run_html: str, data_html: str) -> None:
    for page_html in (run_html, data_html):
        page = Page(page_html)
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids))
        links = {link["href"] for link in page.named("a")}
        assert {link for link in links if link.startswith("#")} <= {f"#{name}" for name in ids}


def test_all_tags_close_and_tables_and_pictures_say_what_they_are(run_html: str, data_html: str) -> None:
    for page_html in (run_html, data_html):
        page = Page(page_html)
        assert page.unbalanced == []
        assert page.open == []
        assert len(page.named("caption")) == len(page.named("table")) > 0
        assert all(image["alt"] for image in page.named("img"))
        assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in page.named("svg"))
        assert len(page.named("h1")) == 1


def test_hostile_text_stays_text() -> None:
    titles = {**TITLES, "normal": HOSTILE}
    content = run_report(titles, title=HOSTILE, recipe_yaml=HOSTILE, recipe_name=HOSTILE)
    page = Page(render_run_report(content))
    assert page.named("script") == [{}]
    assert all(image["src"].startswith("data:") for image in page.named("img"))
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert page.text.count(HOSTILE) >= 8
    assert page.unbalanced == []


def test_equal_content_gives_equal_bytes(run_html: str) -> None:
    assert render_run_report(run_report()) == run_html


def test_every_architecture_and_class_appears(run_html: str) -> None:
    text = Page(run_html).text
    for name in ("densenet121", "resnet50", "simple_cnn"):
        assert text.count(name) >= 5
    for title in TITLES.values():
        assert text.count(title) >= 4


def test_the_verdict_opens_the_page_in_plain_words(run_html: str) -> None:
    text = Page(run_html).text
    assert (
        "densenet121 was best of 3 on validation and reached a macro ROC AUC of 0.83 (0.78–0.88, n = 73)" in text
    )
    assert "Its interval overlaps that of resnet50: other images might rank them differently." in text
    assert "It is registered as lungline-merged v3, challenger." in text
    assert "Too few to judge: Pneumothorax (7 test positives)." in text
    assert "Not a medical device." in text


def test_a_better_rival_on_test_is_not_hidden() -> None:
    text = Page(render_run_report(run_report(aucs=(0.83, 0.86, 0.6)))).text
    assert "On test resnet50 measured higher. The choice was made on validation" in text


def test_an_undefined_number_shows_its_reason_and_never_a_zero(run_html: str) -> None:
    text = Page(run_html).text
    assert "undefined: nothing was called positive n = 0" in text
    assert "AUC undefined: all positives are one group" in text
    assert "0.00 " not in text


def _with_external(content: RunReport) -> RunReport:
    """The same report with an external set that holds no pneumothorax."""
    sections = []
    for one in content.architectures:
        classes = [
            c.model_copy(update={"n_positive": 0 if c.name == "pneumothorax" else 12, "roc_auc": number(0.6, 80)})
            for c in one.evaluation.classes
        ]
        changes = {"split": "external", "n": 80, "n_groups": 70, "classes": classes, "primary": number(0.6, 80)}
        sections.append(one.model_copy(update={"external": one.evaluation.model_copy(update=changes)}))
    return content.model_copy(update={"architectures": sections})


def test_external_images_stand_beside_internal_ones() -> None:
    page = Page(render_run_report(_with_external(run_report())))
    assert page.unbalanced == []
    assert "80 images in 70 groups from sources that no model here was trained or chosen on" in page.text
    assert "On external images its macro ROC AUC was 0.60 (0.55–0.65, n = 80), a difference of −0.23" in page.text
    assert "−0.23 (−0.30 to −0.16)" in page.text
    assert (
        "No external image shows Pneumothorax: this class cannot be validated externally with these data."
        in page.text
    )
    assert "densenet121: each class on internal test against external images" in page.text


def test_a_run_without_external_images_says_so(run_html: str) -> None:
    text = Page(run_html).text
    assert "No external images were read, so how it does on pictures from elsewhere was not measured." in text
    assert "No external images were read: nothing on this page shows" in text


def test_where_several_classes_may_be_true_there_is_no_confusion_matrix() -> None:
    content = run_report()
    why = undefined("several classes may be true at once")
    changes = {"multi_label": True, "confusion": [], "accuracy": why, "balanced_accuracy": why}
    sections = []
    for one in content.architectures:
        items = [
            one.cam_sheet.items[0].model_copy(update={"truth": truth}) for truth in ("covid19|normal", "none")
        ]
        update = {
            "evaluation": one.evaluation.model_copy(update=changes),
            "cam_sheet": one.cam_sheet.model_copy(update={"items": items}),
        }
        sections.append(one.model_copy(update=update))
    page = Page(render_run_report(content.model_copy(update={"architectures": sections})))
    assert page.unbalanced == []
    assert "Balanced accuracy" not in page.text
    assert "COVID-19, Normal → Normal" in page.text
    assert "none of the classes → Normal" in page.text


@pytest.mark.parametrize(("value", "text"), [(-0.123, "−0.12"), (0.051, "+0.05"), (-0.001, "0.00"), (0.0, "0.00")])
def test_a_difference_carries_its_sign(value: float, text: str) -> None:
    assert formatting.difference(Estimate(value=value, n=9, method="no interval: x")) == f"{text} (no interval)"


def test_an_undefined_primary_metric_is_said_first() -> None:
    content = run_report()
    sections = [
        s.model_copy(update={"evaluation": s.evaluation.model_copy(update={"primary": undefined("no positives")})})
        for s in content.architectures
    ]
    text = Page(render_run_report(content.model_copy(update={"architectures": sections}))).text
    assert "but its macro ROC AUC on test is undefined: no positives (n = 0)." in text


def test_the_notes_of_the_winner_are_shown_once(run_html: str) -> None:
    assert Page(run_html).text.count("Pneumothorax cannot be told apart from its source.") == 1


def test_grad_cam_cards_disclaim_localisation_and_flag_empty_maps(run_html: str) -> None:
    text = Page(run_html).text
    assert text.count("not a lesion localisation") == 1
    assert text.count("map is all zero") == 1
    assert "Not a lesion localisation." in text
    assert "c0ffeec0ff" in text
    assert "c0ffee" * 10 not in text


def test_a_ranking_that_forgets_an_architecture_is_refused() -> None:
    content = run_report()
    data = content.model_dump()
    data["selection"]["ranking"] = ["densenet121", "resnet50"]
    with pytest.raises(ValidationError, match="every architecture"):
        RunReport.model_validate(data)


def test_counts_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ValidationError, match="sum to the files offered"):
        Counts(offered=10, kept=9, quarantined=2, duplicate=0)


def test_no_patient_number_reaches_a_page(run_html: str, data_html: str) -> None:
    for page_html in (run_html, data_html):
        assert "00000013" not in page_html
        assert "nih, image 1a1a1a1a1a" in page_html  # what the duplicate repeats
        assert "a/COVID-3.png" in page_html  # the duplicate itself: its source has no patient ids
        assert "nih, file 2222222222" in page_html  # could not be decoded, so it has no image id
    assert "nih, image 2b2b2b2b2b" in data_html
    assert "name withheld" in data_html  # no row of the catalog, but it holds a patient's number


def test_the_data_section_counts_what_the_catalog_holds() -> None:
    data = described_data()
    assert data.counts == Counts(offered=6, kept=4, quarantined=1, duplicate=1)
    assert [(row.source, row.class_title, row.split, row.images, row.groups) for row in data.composition] == [
        ("nih", "Pneumothorax", "test", 1, 1),
        ("nih", "Pneumothorax", "train", 1, 1),
        ("radiography", "COVID-19", "train", 1, 1),
    ]
    assert data.identity.groups == 2
    assert data.identity.largest_group == 2
    assert data.identity.without_patient_id == 2
    assert data.identity.groups_in_several_splits == 1
    assert [(reason.reason, reason.count) for reason in data.excluded] == [("several classes at once", 1)]
    assert [[copy.label for copy in copies] for copies in data.label_conflicts] == [["covid19", "no_finding"]]


def test_a_stopped_data_report_names_the_rows_and_what_to_do(data_html: str) -> None:
    text = Page(data_html).text
    assert "Stopped: 1 critical expectation failed. Nothing may train on these data." in text
    assert "Every age is possible." in text
    assert "and 18 more" in text
    assert "lungline data build RECIPE" in text
    assert "The split leaks: 1 identity group in more than one split." in text


def test_a_catalog_with_nothing_in_it_still_makes_a_page() -> None:
    data = data_section(Catalog.of(pd.DataFrame()), class_titles=TITLES, split_settings={}, validation=None)
    text = Page(render_data_report(DataReport(title="Empty", catalog_hash="0" * 64, data=data))).text
    assert "No kept image has a class of this task." in text
    assert "These data were not validated." in text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.8349, "0.83"), (0.9999, ">0.99"), (1.0, "1.00"), (0.0001, "<0.01"), (0.0, "0.00"), (-0.001, "0.00")],
)
def test_a_number_never_rounds_to_a_perfection_it_has_not_reached(value: float, text: str) -> None:
    assert formatting.decimal(value) == text


def test_numbers_are_written_with_interval_n_and_thousands() -> None:
    estimate = Estimate(value=0.83, low=0.78, high=0.88, n=1210)
    assert formatting.estimate(estimate) == "0.83 (0.78–0.88)"
    assert formatting.estimate_with_n(estimate) == "0.83 (0.78–0.88, n = 1,210)"
    assert formatting.estimate_with_n(Estimate(value=0.5, n=2)) == "0.50 (no interval, n = 2)"
    assert formatting.estimate(undefined("no positives")) == "undefined: no positives"
    assert formatting.percent(0.999) == ">99%"
    assert formatting.percent(0.001) == "<1%"
    assert formatting.percent(0.4) == "40%"
    assert formatting.threshold(0.0314) == "0.031"
    assert formatting.counted(1, "image") == "1 image"
    assert formatting.listed(["a", "b", "c"]) == "a, b and c"


def test_leaderboard_rows_carry_the_numbers_of_the_page() -> None:
    content = run_report()
    rows = leaderboard_rows([s.evaluation for s in content.ranked], "densenet121")
    assert [(row.rank, row.winner, row.architecture) for row in rows] == [
        (1, True, "densenet121"),
        (2, False, "resnet50"),
        (3, False, "simple_cnn"),
    ]
    assert rows[0].primary == "0.83 (0.78–0.88)"
    assert rows[0].classes[2].judgement == "too few to judge"


def test_ticks_are_round_and_within_the_axis() -> None:
    assert ticks(0, 1, 5) == [0, 0.5, 1]
    assert ticks(0.6, 0.9, 5) == [0.6, 0.7, 0.8, 0.9]
    assert ticks(1, 3, 6, whole=True) == [1, 2, 3]
    assert widened(0, 1.83) == (0, 2)
    assert widened(0.5, 0.5) == (0, 1)
    assert widened(1 - 1e-16, 1.0) == (0.5, 1.5)


def test_a_validation_auc_that_is_perfect_in_every_epoch_is_drawn() -> None:
    records = [
        EpochRecord(
            epoch=e,
            learning_rate=0.1,
            train_loss=0.1,
            val_loss=0.1,
            val_macro_auc=1 - e % 2 * 2e-16,
            val_accuracy=1,
        )
        for e in (1, 2, 3)
    ]
    (panel,) = learning_curves({"perfect": TrainingHistory(epochs=records, best_epoch=1)})
    assert ">1</text>" in panel.auc
    assert ">1.2</text>" not in panel.auc


def test_the_dot_sits_where_its_value_lies_on_the_common_axis() -> None:
    page = Page(plots.dot_whisker(number(0.75), (0.5, 1.0), winner=True))
    assert page.named("circle")[0]["cx"] == "80"  # the middle of 12–148
    assert page.named("svg")[0]["aria-label"] == "0.75 (0.70–0.80)"
    assert Page(plots.dot_whisker(undefined("none"), (0.5, 1.0), winner=True)).named("circle") == []


def test_labels_of_equal_roc_curves_do_not_cover_each_other() -> None:
    curve = RocCurve(false_positive_rate=[0, 0.2, 1], sensitivity=[0, 0.8, 1])
    page = Page(plots.roc_plot([plots.RocLine(i, curve, i == 1) for i in (1, 2, 3)], label="ROC"))
    centres = [(float(c["cx"]), float(c["cy"])) for c in page.named("circle")]
    distances = [
        ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) ** 0.5 for i, a in enumerate(centres) for b in centres[:i]
    ]
    assert min(distances) > 15  # two radii
    dashes = {line["class"] for line in page.named("polyline")}
    assert len(dashes) == 3


def test_the_confusion_matrix_writes_counts_and_shares_of_the_row() -> None:
    page = Page(plots.confusion_matrix([[3, 1], [0, 0]], ["COVID-19", "Normal"], label="c", winner=True))
    assert "75%" in page.texts
    assert "25%" in page.texts
    assert page.texts.count("no image") == 2


def test_reports_are_light_to_import() -> None:
    heavy = "{'torch', 'mlflow', 'matplotlib', 'sklearn', 'zenml'}"
    for modules, unwanted in (
        ("models.reports.leaderboard", f"{heavy} | {{'pandas'}}"),  # the terminal shows it
        ("models.reports.run_pages, models.reports.data_report", heavy),
    ):
        code = f"import sys, {modules}\nprint(sorted(({unwanted}) & set(sys.modules)))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[]"
