"""Which images were logged is known exactly, whether they came one by one or by the thousand."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from models.scoring import logged_images
from models.scoring.logged_images import LoggedImages


def keys(*numbers: int) -> list[str]:
    return [hashlib.sha256(str(number).encode()).hexdigest() for number in numbers]


def test_nothing_is_held_before_anything_was_added() -> None:
    images = LoggedImages()
    assert images.holds(keys(1, 2)).tolist() == [False, False]
    assert images.holds([]).tolist() == []


@pytest.mark.parametrize("few", [1, 10, 10_000], ids=["each is a batch", "mixed", "one by one"])
def test_what_was_added_is_held_and_nothing_else(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(logged_images, "_FEW", few)
    monkeypatch.setattr(logged_images, "_MANY", 50)
    images, added = LoggedImages(), set()
    for start in range(0, 300, 7):
        numbers = range(start, start + 1 + start % 13)
        images.add(keys(*numbers))
        added.update(numbers)
        asked = np.random.default_rng(start).integers(0, 400, 40).tolist()
        assert images.holds(keys(*asked)).tolist() == [number in added for number in asked]


def test_a_key_that_ends_in_zeros_is_told_from_others() -> None:
    images = LoggedImages()
    images.add(["ab" * 30 + "0000", "00" * 32])
    assert images.holds(["ab" * 30 + "0000", "00" * 32, "ab" * 31 + "00"]).tolist() == [True, True, False]
