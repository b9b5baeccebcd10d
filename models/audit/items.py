"""Puts an AuditItem together: its description, its limits, its numbers and its verdict."""

from __future__ import annotations

from collections.abc import Mapping

from models.audit.areas import Areas
from models.audit.descriptions import DESCRIPTIONS
from models.audit.results import LIMITS, AuditItem, Verdict
from models.audit.verdicts import judge_without_disease
from models.evaluation.results import Estimate

SHARE = "share of the model's AUC"
MODEL = "macro AUC of the model"


def item(
    name: str, estimate: Estimate, judged: tuple[Verdict, str], also: Mapping[str, Estimate] | None = None
) -> AuditItem:
    """An item by its name in DESCRIPTIONS and LIMITS. judged: its verdict and the reason for it."""
    said = DESCRIPTIONS[name]
    verdict, reason = judged
    return AuditItem(
        name=name,
        title=said.title,
        about=said.about,
        question=said.question,
        measure=said.measure,
        estimate=estimate,
        also=dict(also or {}),
        n=estimate.n,
        limits=LIMITS[name],
        verdict=verdict,
        reason=reason,
    )


def without_disease(name: str, areas: Areas) -> AuditItem:
    """An item about an AUC reached without seeing the lungs."""
    judged = judge_without_disease(areas.auc, areas.share, LIMITS[name])
    return item(name, areas.auc, judged, {MODEL: areas.model, SHARE: areas.share})


def unevaluated(name: str, reason: str, n: int = 0) -> AuditItem:
    """An item that could not be measured, and why: never a pass."""
    return item(name, Estimate(value=None, n=n, undefined=reason), ("not evaluated", reason))
