"""How numbers are written wherever a person reads them: pages, the terminal, sentences.

Every function returns plain text; escaping is left to the page that shows it.
"""

from __future__ import annotations

import re

from models.evaluation.results import Estimate

METRIC_TITLES = {
    "macro_auc": "macro ROC AUC",
    "balanced_accuracy": "balanced accuracy",
    "accuracy": "accuracy",
    "roc_auc": "ROC AUC",
    "kappa": "Cohen's kappa",
    "mcc": "Matthews correlation (MCC)",
    "macro_f1": "macro F1",
    "micro_f1": "micro F1",
    "micro_precision": "micro precision (PPV)",
    "micro_recall": "micro recall (sensitivity)",
}
EN_DASH = "\N{EN DASH}"


def metric_title(name: str) -> str:
    """The name of a metric in words; an unknown one with its underscores opened."""
    return METRIC_TITLES.get(name, name.replace("_", " "))


def count(number: int) -> str:
    """A whole number with thousands separators."""
    return f"{number:,}"


def counted(number: int, singular: str, plural: str = "") -> str:
    """A count with its noun: 1 image, 2 images; `plural` where adding an s is wrong."""
    return f"{count(number)} {singular if number == 1 else plural or singular + 's'}"


def decimal(value: float, places: int = 2) -> str:
    """A number with fixed places that never rounds to a perfect 1 or 0 (or -1) it has not reached.

    0.997 becomes ">0.99": a reader takes 1.00 for "no error", which is another finding.
    """
    text = f"{value:.{places}f}"
    step = 10.0**-places
    if float(text) == 1 and value < 1:
        return f">{1 - step:.{places}f}"
    if float(text) == 0 and value > 0:
        return f"<{step:.{places}f}"
    return _minus(text)


def interval(estimate: Estimate) -> str:
    """The 95 % interval as "0.78–0.88", "−0.20 to 0.10" below zero; empty where there is none."""
    if estimate.low is None or estimate.high is None:
        return ""
    low, high = _minus(f"{estimate.low:.2f}"), _minus(f"{estimate.high:.2f}")
    return f"{low} to {high}" if low.startswith("\N{MINUS SIGN}") else f"{low}{EN_DASH}{high}"


def _minus(text: str) -> str:
    """A written number with a typographic minus; what rounds to zero has no sign."""
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def estimate(number: Estimate) -> str:
    """An estimate as "0.83 (0.78–0.88)", or "undefined: reason"."""
    if number.value is None:
        return f"undefined: {number.undefined}"
    return f"{decimal(number.value)} ({interval(number) or 'no interval'})"


def estimate_with_n(number: Estimate) -> str:
    """An estimate as "0.83 (0.78–0.88, n = 210)", or "undefined: reason (n = 0)"."""
    if number.value is None:
        return f"undefined: {number.undefined} (n = {count(number.n)})"
    return f"{decimal(number.value)} ({interval(number) or 'no interval'}, n = {count(number.n)})"


def difference(number: Estimate) -> str:
    """A signed difference as "−0.12 (−0.20 to −0.04)", or "undefined: reason"."""
    if number.value is None:
        return f"undefined: {number.undefined}"
    if number.low is None or number.high is None:
        return f"{_signed(number.value)} (no interval)"
    return f"{_signed(number.value)} ({_signed(number.low)} to {_signed(number.high)})"


def _signed(value: float) -> str:
    text = f"{value:+.2f}"
    return "0.00" if float(text) == 0 else _minus(text)


def percent(share: float) -> str:
    """A share in [0, 1] as whole per cent, never rounded to a 0 % or 100 % it has not reached."""
    whole = round(share * 100)
    if whole == 100 and share < 1:
        return ">99%"
    if whole == 0 and share > 0:
        return "<1%"
    return f"{whole}%"


def threshold(value: float) -> str:
    """A probability threshold with three places, because sensitivity can turn on the third."""
    return decimal(value, 3)


def short_hash(digest: str) -> str:
    """The first ten digits of a hash: enough to find it, short enough to read."""
    return digest[:10]


def capitalised(words: str) -> str:
    """The words with a capital first letter; the others keep their case."""
    return words[:1].upper() + words[1:]


def unbroken(sentence: str) -> str:
    """The sentence with its brackets kept on one line each: "(0.78–0.88, n = 210)" is one number."""
    return re.sub(r"\([^()]{1,40}\)", lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), sentence)


def listed(words: list[str]) -> str:
    """Words as a sentence holds them: a, b and c."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
