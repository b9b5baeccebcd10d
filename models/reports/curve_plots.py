"""Plots of one class of one architecture: ROC, precision against sensitivity, reliability, net benefit.

Pure functions from an evaluation to escaped markup, in the manner of `plots`.
"""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from models.evaluation.results import Calibration, ClassEvaluation, NetBenefit
from models.reports.formatting import counted, decimal, estimate
from models.reports.svg import Scale, drawing, element, line, polyline, text, tick_text, ticks, widened

_SIZE, _LEFT, _RIGHT, _TOP, _BOTTOM = 300.0, 36.0, 10.0, 10.0, 38.0


def roc_curve_plot(one: ClassEvaluation) -> Markup | None:
    """Sensitivity against false alarms; the dotted line is what guessing reaches. None without a curve."""
    if one.roc is None:
        return None
    x, y, parts = _frame((0.0, 1.0), (0.0, 1.0), "1 \N{MINUS SIGN} specificity", "sensitivity")
    parts.append(line(x(0), y(0), x(1), y(1), "chance"))
    points = zip(one.roc.false_positive_rate, one.roc.sensitivity, strict=True)
    parts.append(polyline([(x(a), y(b)) for a, b in points], "curve winner"))
    if one.operating_point and one.sensitivity.value is not None and one.specificity.value is not None:
        parts.append(_cross(x(1 - one.specificity.value), y(one.sensitivity.value)))
    return drawing(_SIZE, _SIZE, f"ROC curve of {one.title}: AUC {estimate(one.roc_auc)}.", parts)


def precision_recall_plot(one: ClassEvaluation) -> Markup | None:
    """Precision (PPV) against sensitivity; the dotted line is what guessing reaches. None without an ROC curve.

    Every point of the ROC curve is one of this curve too, by the counts of positives and negatives.
    """
    if one.roc is None:
        return None
    points = []
    for rate, found in zip(one.roc.false_positive_rate, one.roc.sensitivity, strict=True):
        true, false = found * one.n_positive, rate * one.n_negative
        if true + false > 0:
            points.append((found, true / (true + false)))
    x, y, parts = _frame((0.0, 1.0), (0.0, 1.0), "sensitivity", "precision (PPV)")
    share = one.n_positive / (one.n_positive + one.n_negative)
    parts.append(line(x(0), y(share), x(1), y(share), "chance"))
    parts.append(polyline([(x(a), y(b)) for a, b in points], "curve winner"))
    if one.operating_point and one.sensitivity.value is not None and one.ppv.value is not None:
        parts.append(_cross(x(one.sensitivity.value), y(one.ppv.value)))
    label = f"Precision and sensitivity of {one.title}: average precision {estimate(one.average_precision)}."
    return drawing(_SIZE, _SIZE, label, parts)


def reliability_plot(calibration: Calibration, *, title: str) -> Markup:
    """Share of positives among images of similar probability; on the diagonal the probabilities are right."""
    x, y, parts = _frame((0.0, 1.0), (0.0, 1.0), "mean probability", "share that is positive")
    parts.append(line(x(0), y(0), x(1), y(1), "chance"))
    for bin_ in calibration.curve:
        parts.append(line(x(bin_.probability), y(bin_.low), x(bin_.probability), y(bin_.high), "whisker winner"))
    parts.append(polyline([(x(b.probability), y(b.positive)) for b in calibration.curve], "curve validation thin"))
    for bin_ in calibration.curve:
        hint = element(
            "title",
            f"{decimal(bin_.probability)}: {decimal(bin_.positive)} of {counted(bin_.n, 'image')} positive",
        )
        dot = {"cx": x(bin_.probability), "cy": y(bin_.positive), "r": 3.2}
        parts.append(element("circle", hint, **dot, class_="whisker winner"))
    said = "; ".join(f"{decimal(b.probability)} against {decimal(b.positive)}" for b in calibration.curve)
    return drawing(_SIZE, _SIZE, f"Reliability of {title}, probability against share of positives: {said}.", parts)


def decision_plot(curve: Sequence[NetBenefit], *, title: str) -> Markup | None:
    """Net benefit against the risk from which one would act; None where it is undefined everywhere."""
    model = [(point.threshold, point.model.value) for point in curve if point.model.value is not None]
    if not model:
        return None
    treat_all = [(point.threshold, point.treat_all) for point in curve if point.treat_all is not None]
    highest = max(value for _, value in [*model, *treat_all])
    y_range = widened(min(-0.05, *(value for _, value in model)), max(highest, 0.05))
    x, y, parts = _frame((0.0, model[-1][0]), y_range, "risk from which one would act", "net benefit")
    parts.append(line(x.start, y(0), x.end, y(0), "base"))
    above = [(a, b) for a, b in treat_all if b >= y_range[0]]
    parts.append(polyline([(x(a), y(b)) for a, b in above], "curve other dash-1"))
    parts.append(polyline([(x(a), y(b)) for a, b in model], "curve winner"))
    said = "; ".join(f"{a:g}: {b:.3f}" for a, b in model)
    return drawing(_SIZE, _SIZE, f"Net benefit of {title} by risk threshold: {said}.", parts)


def _cross(a: float, b: float) -> Markup:
    """Where the frozen operating point lies."""
    return element("path", d=f"M{a - 5:.1f} {b:.1f}h10M{a:.1f} {b - 5:.1f}v10", class_="operating")


def _frame(
    x_range: tuple[float, float], y_range: tuple[float, float], x_title: str, y_title: str
) -> tuple[Scale, Scale, list[Markup]]:
    x = Scale(*x_range, _LEFT, _SIZE - _RIGHT)
    y = Scale(*y_range, _SIZE - _BOTTOM, _TOP + 14)
    parts = [line(x.start, y(t), x.end, y(t), "grid") for t in ticks(*y_range, 5)]
    minus = "\N{MINUS SIGN}"
    parts += [
        text(x.start - 6, y(t) + 3.5, tick_text(t).replace("-", minus), "axis", "end") for t in ticks(*y_range, 5)
    ]
    parts += [text(x(t), y.start + 15, tick_text(t), "axis", "middle") for t in ticks(*x_range, 5)]
    parts.append(line(x.start, y.start, x.end, y.start, "base"))
    parts.append(text((x.start + x.end) / 2, _SIZE - 5, x_title, "axis", "middle"))
    parts.append(text(0, _TOP + 1, y_title, "axis"))
    return x, y, parts
