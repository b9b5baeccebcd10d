"""The retraining trigger: what asks for a training, what holds it back, and that nothing else ever starts one."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from datetime import UTC, timedelta

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from data_contracts.errors import ModelGateError
from data_contracts.overlay import Decision as LabelDecision
from models.registry.decisions.entries import Aliases, Decision
from models.registry.decisions.person import Person
from models.retraining.entries import Entry, entry_of
from models.retraining.history import History, fold
from models.retraining.labels import Learned, NewLabels, new_labels
from models.retraining.settings import RetrainingSettings
from models.retraining.status import RetrainingStatus, assess
from pipelines.recipe import load_recipe

MODEL = "lungline-chest"
START = datetime.datetime(2026, 3, 1, 12, tzinfo=UTC)
PERSON = Person(name="anna", kind="operating-system user")
SETTINGS = RetrainingSettings(cooldown_days=10, budget=3, budget_days=60)


def labels(number: int, images: int = 5) -> NewLabels:
    return NewLabels(images=images, decisions=0, fingerprint=f"{number:064x}")


@dataclass
class Story:
    """A model's life in memory: entries as the journal would hold them, decisions as the decision log would."""

    settings: RetrainingSettings = SETTINGS
    now: datetime.datetime = START
    entries: list[Entry] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    champion: str = "1"
    versions: int = 1
    windows: int = 0

    def add(self, **content: object) -> None:
        self.entries.append(entry_of({"sequence": len(self.entries), "time": self.now, **content}))

    def history(self) -> History:
        return fold(self.entries, self.decisions, self.settings)

    def status(self, seen: NewLabels | None = None) -> RetrainingStatus:
        return assess(MODEL, self.history(), self.settings, self.now, labels=seen)

    def window(self, verdict: str, *, name: str = "", issue: int = 1, days: float = 1) -> None:
        self.now += timedelta(days=days)
        self.windows += 1
        name = name or f"w{self.windows:04d}"
        self.add(
            kind="window",
            version=self.champion,
            bundle=f"bundle-{self.champion}",
            window=name,
            until=name,
            issue=issue,
            verdict=verdict,
        )
        history = self.history()
        if history.confirmed and not history.asked:
            windows = [one.window for one in history.alarms]
            self.add(kind="requested", episode=history.episodes + 1, windows=windows)

    def see(self, *verdicts: str) -> None:
        for verdict in verdicts:
            self.window(verdict)

    def train(self, seen: NewLabels, outcome: str = "candidate") -> bool:
        """Start and end a training if the brakes let go; whether they did."""
        if not self.status(seen).may_train:
            return False
        episode = self.history().episodes
        self.add(kind="started", episode=episode, labels=seen.fingerprint)
        self.now += timedelta(hours=1)
        if outcome == "candidate":
            self.versions += 1
        version = str(self.versions) if outcome == "candidate" else None
        self.add(kind="ended", episode=episode, outcome=outcome, version=version)
        return True

    def decide(self, kind: str, version: str | None = None) -> None:
        self.now += timedelta(minutes=1)
        version = version or str(self.versions)
        before = Aliases(champion=self.champion)
        if kind == "approve":
            self.champion = version
        self.decisions.append(
            Decision.model_validate(
                {
                    "sequence": len(self.decisions) + 1,
                    "previous": "0" * 64,
                    "time": self.now,
                    "kind": kind,
                    "model": MODEL,
                    "version": version,
                    "bundle": None,
                    "person": PERSON,
                    "trained_by": None,
                    "reason": "as the dossier says",
                    "dossier": None,
                    "verdict": None,
                    "overrides": [],
                    "before": before,
                    "after": Aliases(champion=self.champion),
                }
            )
        )

    def requests(self) -> int:
        return sum(entry.kind == "requested" for entry in self.entries)


def stopping(status: RetrainingStatus) -> set[str]:
    return {brake.name for brake in status.brakes if brake.stops}


def test_quiet_weeks_ask_for_nothing() -> None:
    story = Story()
    story.see(*["quiet"] * 30)
    assert (story.status(labels(1)).state, story.requests()) == ("quiet", 0)
    assert stopping(story.status(labels(1))) == {"drift"}


def test_one_alarm_is_confirmed_before_retraining_is_asked_for() -> None:
    story = Story()
    story.see("quiet", "alarm")
    assert story.status().state == "confirming"
    assert "1 of the last 2 judged windows alarmed; 2 of 3" in story.status().why
    story.see("watch", "alarm")
    assert story.status().state == "waiting for labels"
    assert story.requests() == 1


def test_windows_with_too_few_images_neither_confirm_nor_calm() -> None:
    story = Story()
    story.see("alarm", *["insufficient"] * 10, "alarm")
    assert story.requests() == 1
    story.see("quiet", "insufficient", "quiet", "insufficient")
    assert story.status().requested
    story.see("quiet")
    assert not story.status().requested


def test_a_later_issue_of_a_window_replaces_it_and_counts_once() -> None:
    story = Story()
    story.window("alarm", name="w1")
    story.window("alarm", name="w1", issue=2)
    assert (story.status().state, story.requests()) == ("confirming", 0)
    story.window("quiet", name="w1", issue=3)
    story.window("alarm", name="w1", issue=2)  # comes late and is older
    assert story.status().state == "quiet"


def test_drift_alone_never_trains_and_new_labels_let_it_start() -> None:
    story = Story()
    story.see(*["alarm"] * 20)
    assert not story.train(labels(1, images=0))
    assert story.status().state == "waiting for labels"
    assert "drift alone never trains" in story.status().why
    assert story.status(labels(1)).state == "requested"
    assert story.train(labels(1))


def test_new_labels_without_drift_train_nothing() -> None:
    story = Story()
    story.see("quiet")
    assert not story.train(labels(1))


def test_after_a_training_the_version_waits_for_a_person_and_a_refusal_ends_the_episode() -> None:
    story = Story()
    story.see("alarm", "alarm")
    assert story.train(labels(1))
    story.see(*["alarm"] * 5)
    waiting = story.status(labels(2))
    assert (waiting.state, waiting.undecided) == ("cooling down", "2")
    assert {"this episode", "decision", "cooldown"} <= stopping(waiting)
    story.decide("reject")
    assert story.status().setbacks == 1
    story.see("alarm", "alarm")
    assert story.requests() == 2  # another episode, because a person ended the first
    assert not story.train(labels(2))  # not before the cooldown
    story.now += timedelta(days=20)
    assert not story.train(labels(1))  # these labels were learned from
    assert story.train(labels(2))


def test_two_refused_versions_open_the_circuit_until_a_person_closes_it() -> None:
    story = Story()
    for number in (1, 2):
        story.see("alarm", "alarm")
        assert story.train(labels(number))
        story.decide("reject")
        story.now += timedelta(days=11)
    story.see("alarm", "alarm")
    status = story.status(labels(3))
    assert (status.state, stopping(status)) == ("open circuit", {"circuit"})
    assert "--reset-circuit" in status.why
    story.add(kind="circuit closed", person=PERSON, reason="the labels were mended")
    assert story.train(labels(3))


def test_an_approval_between_two_refusals_keeps_the_circuit_closed() -> None:
    story = Story(RetrainingSettings(cooldown_days=0, budget=9))
    for number, decision in enumerate(("reject", "approve", "reject"), start=1):
        story.see("alarm", "alarm")
        assert story.train(labels(number))
        story.decide(decision)
    assert story.status().setbacks == 1


def test_refusing_one_version_twice_is_one_setback() -> None:
    story = Story()
    story.see("alarm", "alarm")
    story.train(labels(1))
    story.decide("reject")
    story.decide("reject")
    assert story.status().setbacks == 1


def test_an_interrupted_training_may_begin_again_and_a_failed_one_counts_as_a_setback() -> None:
    story = Story()
    story.see("alarm", "alarm")
    assert story.train(labels(1), "interrupted")
    assert story.status().setbacks == 0
    assert story.train(labels(1), "failed")
    assert story.status(labels(1)).state == "requested"
    assert story.train(labels(1))
    assert story.requests() == 1


def test_the_budget_holds_until_the_oldest_training_is_long_enough_ago() -> None:
    story = Story(RetrainingSettings(cooldown_days=0, budget=2, budget_days=30, setbacks_to_open=9))
    story.see("alarm", "alarm")
    first = story.now
    assert story.train(labels(1), "failed")
    assert story.train(labels(1), "failed")
    status = story.status(labels(1))
    assert (stopping(status), status.budget_left, status.state) == ({"budget"}, 0, "cooling down")
    assert status.free_from == first + timedelta(days=30)
    story.now = status.free_from
    assert story.train(labels(1))


def test_another_champion_starts_afresh_and_late_windows_of_the_former_one_do_not_count() -> None:
    story = Story()
    story.window("alarm", name="w1")
    story.window("watch", name="w2")
    story.versions, story.champion = 2, "2"
    story.window("alarm", name="w3")
    assert story.status().state == "confirming"
    story.champion = "1"
    story.window("alarm", name="w2", issue=2)
    assert (story.status().version, story.requests()) == ("2", 0)


def test_a_dry_run_stops_every_training() -> None:
    story = Story(RetrainingSettings(dry_run=True))
    story.see("alarm", "alarm")
    assert stopping(story.status(labels(1))) == {"dry run"}


def test_a_decision_log_that_was_changed_stops_every_training() -> None:
    story = Story()
    story.see("alarm", "alarm")
    status = assess(MODEL, story.history(), SETTINGS, story.now, labels=labels(1), log_doubt="it was changed")
    assert (status.may_train, stopping(status)) == (False, {"decision"})


def test_a_decision_counts_after_its_training_even_where_a_clock_was_set_back() -> None:
    story = Story()
    story.see("alarm", "alarm")
    story.train(labels(1))
    story.now -= timedelta(days=400)
    story.decide("reject")
    assert story.status().setbacks == 1


def test_confirmations_that_cannot_be_met_are_refused() -> None:
    with pytest.raises(ValueError, match="confirmations 4 cannot be met in of_windows 3"):
        RetrainingSettings(confirmations=4)


def test_a_recipe_sets_the_brakes() -> None:
    recipe = load_recipe("quickstart", ["retraining.cooldown_days=3"])
    assert recipe.retraining == RetrainingSettings(cooldown_days=3)


# What is new among the labels.

LISTED = pd.DataFrame(
    {
        "source": "image-folder",
        "file": [f"{number}.png" for number in range(8)],
        "nodes": ["covid19"] * 6 + ["", ""],
    }
)


def person_says(day: str, who: str = "Dr. Meier") -> LabelDecision:
    return LabelDecision.model_validate(
        {"line": 2, "image_id": "a" * 64, "file": "", "nodes": "covid19", "who": who, "why": "CT", "date": day}
    )


def test_new_images_are_those_beyond_what_any_version_was_offered() -> None:
    found = new_labels(LISTED, [], Learned(images=4, since=datetime.date(2026, 1, 1)), MODEL)
    assert (found.images, found.total) == (2, 2)
    assert found.notes == ["2 files without a label do not count"]
    assert new_labels(LISTED, [], Learned(images=6), MODEL).total == 0
    assert new_labels(LISTED, [], Learned(images=40), MODEL).total == 0


def test_no_image_counts_as_new_where_nobody_knows_what_was_learned_from() -> None:
    found = new_labels(LISTED, [], Learned(), MODEL)
    assert found.images == 0
    assert "not known" in found.notes[0]


def test_decisions_of_people_count_from_the_day_before_the_last_version_on() -> None:
    """West of Greenwich a decision made after the version may bear the date before its UTC day."""
    learned = Learned(images=8, since=datetime.date(2026, 3, 5))
    decisions = [person_says(day) for day in ("2026-03-03", "2026-03-04", "2026-03-05", "2026-03-06")]
    assert new_labels(LISTED, decisions, learned, MODEL).decisions == 3


def test_the_fingerprint_follows_labels_and_decisions_and_not_their_order() -> None:
    learned = Learned(images=8)
    decisions = [person_says("2026-03-05"), person_says("2026-03-06")]
    one = new_labels(LISTED, decisions, learned, MODEL).fingerprint
    assert new_labels(LISTED[::-1], decisions[::-1], learned, MODEL).fingerprint == one
    assert new_labels(LISTED, decisions[:1], learned, MODEL).fingerprint != one
    relabelled = LISTED.assign(nodes=LISTED["nodes"].replace("covid19", "no_finding"))
    assert new_labels(relabelled, decisions, learned, MODEL).fingerprint != one


@pytest.mark.parametrize("who", ["model", "Lungline", MODEL, "lungline-other", " champion "])
def test_a_label_that_a_program_signed_is_refused(who: str) -> None:
    with pytest.raises(ModelGateError, match="line 2"):
        new_labels(LISTED, [person_says("2026-03-05", who)], Learned(), MODEL)


# Whatever happens in whatever order.


class AnyOrder(RuleBasedStateMachine):
    """Verdicts, labels, trainings, decisions and resets in any order keep the promises."""

    def __init__(self) -> None:
        super().__init__()
        self.story = Story(RetrainingSettings(cooldown_days=2, budget=3, budget_days=30))
        self.labels = 0

    @rule(verdict=st.sampled_from(["quiet", "watch", "alarm", "insufficient"]), times=st.integers(1, 4))
    def judge(self, verdict: str, times: int) -> None:
        for _ in range(times):
            self.story.see(verdict)

    @rule(back=st.integers(1, 3), verdict=st.sampled_from(["quiet", "alarm"]))
    def judge_again(self, back: int, verdict: str) -> None:
        name = f"w{max(1, self.story.windows - back):04d}"
        self.story.window(verdict, name=name, issue=self.story.windows + 2, days=0)

    @rule()
    def label(self) -> None:
        self.labels += 1

    @rule(outcome=st.sampled_from(["candidate", "failed", "interrupted", "nothing new"]))
    def try_to_train(self, outcome: str) -> None:
        before, was_open = len(self.story.history().starts), self.story.history().circuit_open
        left = self.story.status().budget_left
        trained = self.story.train(labels(self.labels, images=min(1, self.labels)), outcome)
        assert not (trained and (was_open or self.labels == 0))
        assert len(self.story.history().starts) == before + trained
        if trained:
            assert self.story.status().budget_left == left - 1

    @rule(kind=st.sampled_from(["approve", "reject"]))
    def decide(self, kind: str) -> None:
        if self.story.history().undecided:
            self.story.decide(kind)

    @rule()
    def close(self) -> None:
        if self.story.history().circuit_open:
            self.story.add(kind="circuit closed", person=PERSON, reason="looked at it")

    @rule(days=st.integers(1, 20))
    def wait(self, days: int) -> None:
        self.story.now += timedelta(days=days)

    @invariant()
    def an_episode_has_one_request_and_at_most_one_version(self) -> None:
        requested = [entry.episode for entry in self.story.entries if entry.kind == "requested"]
        assert requested == list(range(1, len(requested) + 1))
        made = [
            entry.episode for entry in self.story.entries if entry.kind == "ended" and entry.outcome == "candidate"
        ]
        assert len(made) == len(set(made))
        assert set(made) <= set(requested)

    @invariant()
    def the_budget_is_never_overdrawn(self) -> None:
        starts, days = self.story.history().starts, timedelta(days=self.story.settings.budget_days)
        for start in starts:
            assert sum(start - days < other <= start for other in starts) <= self.story.settings.budget

    @invariant()
    def a_held_brake_and_a_permission_exclude_each_other(self) -> None:
        status = self.story.status(labels(self.labels, images=1))
        assert status.may_train != bool(stopping(status))
        if status.state in (
            "open circuit",
            "training",
            "waiting for labels",
            "cooling down",
            "quiet",
            "confirming",
        ):
            assert not status.may_train


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=15, stateful_step_count=30, deadline=None)


@given(st.lists(st.sampled_from(["quiet", "watch", "alarm", "insufficient"]), max_size=40))
@settings(max_examples=20, deadline=None)
def test_the_same_entries_always_lead_to_the_same_status(verdicts: list[str]) -> None:
    story = Story()
    story.see(*verdicts)
    assert story.status() == story.status()
    again = fold(tuple(story.entries), (), SETTINGS)
    assert assess(MODEL, again, SETTINGS, story.now) == story.status()
