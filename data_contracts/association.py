"""How far the classes of a catalog can be told by their sources alone, which a model would learn instead of disease."""

from __future__ import annotations

import math
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict

from data_contracts.ontology import NO_CLASS
from data_contracts.splits import SPLITS

# The shortcut audit's thresholds for a class-source association.
WARN_FROM = 0.2
FAIL_ABOVE = 0.5


class Association(BaseModel):
    """Class x source association of the images that are learned from or measured on.

    table: class -> source -> images. cramers_v: bias-corrected, in [0, 1]; None where it is undefined, and then
    `undefined` says why. verdict: "pass" below 0.2 and where there is only one class or source, for what does not
    vary tells nothing apart; "fail" above 0.5; "warn" between and where the images are too few.
    single_source_classes: classes with images of one source only, in order; empty where there is only one source.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: dict[str, dict[str, int]]
    images: int
    cramers_v: float | None
    undefined: str = ""
    verdict: Literal["pass", "warn", "fail"]
    single_source_classes: list[str]


def class_source_association(frame: pd.DataFrame) -> Association:
    """The association in a split catalog's frame; reads label, source and split.

    Only rows with a label and in train, val or test count. An image of several classes counts for each of them.
    """
    rows = frame.loc[(frame["label"] != "") & frame["split"].isin(SPLITS), ["label", "source"]]
    classes = rows.assign(label=rows["label"].str.split("|")).explode("label", ignore_index=True)
    table = pd.crosstab(classes["label"], classes["source"])
    value, undefined = corrected_cramers_v(table)
    of_one_source = table.index[((table > 0).sum(axis=1) == 1) & (len(table.columns) > 1)]
    return Association(
        table={
            str(label): {str(source): int(n) for source, n in counts.items()} for label, counts in table.iterrows()
        },
        images=len(rows),
        cramers_v=value,
        undefined=undefined,
        verdict=_verdict(value, varies=min(table.shape) > 1),
        single_source_classes=[str(label) for label in of_one_source if label != NO_CLASS],
    )


def corrected_cramers_v(table: pd.DataFrame) -> tuple[float | None, str]:
    """Bias-corrected Cramér's V of a table of counts and "", or None and the reason why it is undefined.

    Bergsma (2013), "A bias-correction for Cramér's V and Tschuprow's T", Journal of the Korean Statistical Society
    42, 323-328: phi² less its expectation under independence, (r - 1)(c - 1)/(n - 1), over corrected numbers of
    rows and columns. Unlike the plain V it does not find an association in a small table of chance counts.
    """
    from scipy.stats import chi2_contingency

    table = table.loc[(table > 0).any(axis=1), (table > 0).any(axis=0)]
    (rows, columns), n = table.shape, int(table.to_numpy().sum())
    if min(rows, columns) < 2:
        return None, "no images" if not n else "only one class" if rows < 2 else "only one source"
    phi_squared = float(chi2_contingency(table.to_numpy(), correction=False).statistic) / n
    phi_squared = max(0.0, phi_squared - (rows - 1) * (columns - 1) / (n - 1))
    sides = [side - (side - 1) ** 2 / (n - 1) for side in (rows, columns)]
    if min(sides) <= 1:
        return None, f"too few images ({n}) for {rows} classes and {columns} sources"
    return min(1.0, math.sqrt(phi_squared / (min(sides) - 1))), ""


def _verdict(value: float | None, *, varies: bool) -> Literal["pass", "warn", "fail"]:
    if value is None:
        return "warn" if varies else "pass"
    return "pass" if value < WARN_FROM else "fail" if value > FAIL_ABOVE else "warn"
