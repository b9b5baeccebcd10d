"""Cascading randomisation (Adebayo et al. 2018, Sanity Checks for Saliency Maps), judged as in Arun et al. 2021.

A map that stays the same while the network forgets what it learnt shows the image, not the network's reasons.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from models.evaluation.results import Estimate
from models.explanation.cases import Cases
from models.explanation.faithfulness.estimates import LEFT_OUT, estimate, worst_of
from models.explanation.grad_cam import Explainer
from models.explanation.results import RandomisedStage, SanityCheck, Verdict
from models.explanation.settings import FaithfulnessSettings
from models.reports import formatting

if TYPE_CHECKING:
    from torch import nn

DRAWS = 10  # wholly random networks, averaged: what one of them happens to respond to is chance
BASELINE_PAIRS = 50  # of maps of different images, as Arun et al. draw
_SIDE = 32  # cells that maps are compared on, at most
_WINDOW = 1.5  # pixels; standard deviation of SSIM's Gaussian window (Wang et al. 2004)
_C1, _C2 = 0.01**2, 0.03**2  # SSIM's constants for values in [0, 1]


def check_sanity(explainer: Explainer, cases: Cases, settings: FaithfulnessSettings) -> SanityCheck:
    """Compare maps of the most probable class before and after the weights are drawn at random, output first.

    Images whose original map is all zero are left out. The model is copied and left as it was.
    """
    wanted = settings.randomised_images
    chosen = cases.sample(np.ones(len(cases.frame), dtype=np.bool_), wanted, settings.seed)
    rows, classes = cases.rows[chosen], cases.predicted[chosen]
    originals = [_small(cam) for cam in explainer.maps(rows, classes)]
    usable = [i for i, cam in enumerate(originals) if cam.any()]
    if len(usable) < 2:
        reason = "fewer than two images with a map that is not all zero" if wanted else LEFT_OUT
        return SanityCheck(
            verdict="not evaluated",
            reason=reason,
            statement=f"Sanity check not evaluated: {reason}. Nothing shows that these maps depend on what was learnt.",
            stages=[],
            baseline_spearman=None,
            baseline_ssim=None,
        )
    rows, classes, originals = rows[usable], classes[usable], [originals[i] for i in usable]
    alike: dict[str, list[NDArray[np.float64]]] = {}
    for draw in range(DRAWS):
        cascade = randomised(explainer.model, settings.randomisation_stages, settings.seed + draw)
        # One cascade shows where the likeness ends; the verdict is on the wholly random networks of all draws.
        for down_to, model in cascade if draw == 0 else [*cascade][-1:]:
            maps = explainer.of_model(model).maps(rows, classes)
            both = [likeness(one, _small(other)) for one, other in zip(originals, maps, strict=True)]
            alike.setdefault(down_to, []).append(np.array(both))
    stages = []
    for down_to, draws in alike.items():
        spearman, ssim = (estimate("mean", values, settings, "") for values in np.mean(draws, axis=0).T)
        stages.append(RandomisedStage(down_to=down_to, spearman=spearman, ssim=ssim))
    pairs = np.array(list(combinations(range(len(originals)), 2)))
    drawn = np.random.default_rng(settings.seed).permutation(pairs)[:BASELINE_PAIRS]
    baseline = np.mean([likeness(originals[i], originals[j]) for i, j in drawn], axis=0)
    return _judged(stages, float(baseline[0]), float(baseline[1]))


def randomised(model: nn.Module, stages: int, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """(lowest random module, network) with ever more of the weights drawn anew, from the output to the input.

    Weights get normal values around zero of their own size, biases and scales values of their own mean and spread:
    activations keep their scale, and few units die. The same copy each time, changed further; use it before asking
    for the next.
    """
    import torch

    copied = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    # Modules are defined from input to output; only those that hold weights themselves count.
    weighted = [
        (path, module)
        for path, module in copied.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ][::-1]
    # First the classifier alone, then the rest in equal parts.
    ends = {1, *np.linspace(1, len(weighted), min(stages, len(weighted))).round().astype(int).tolist()}
    for done, (path, module) in enumerate(weighted, start=1):
        with torch.no_grad():
            for values in module.parameters(recurse=False):
                centre = values.mean() if values.ndim == 1 else torch.zeros((), device=values.device)
                size = (values - centre).square().mean().sqrt()
                values.copy_(centre + size * torch.randn(values.shape, generator=generator).to(values.device))
        if done in ends:
            yield path, copied


def likeness(first: NDArray[np.float32], second: NDArray[np.float32]) -> tuple[float, float]:
    """(Spearman correlation, SSIM) of two maps (H, W) >= 0, each scaled to its own maximum.

    A map that is the same everywhere has no ranks; it counts as correlated with nothing.
    """
    flat = first.min() == first.max() or second.min() == second.max()
    spearman = 0.0 if flat else float(spearmanr(first.ravel(), second.ravel()).statistic)
    return spearman, structural_similarity(_scaled(first), _scaled(second))


def structural_similarity(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Mean SSIM of two pictures with values in [0, 1] (Wang et al. 2004, eq. 13), Gaussian window."""

    def smooth(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gaussian_filter(values, _WINDOW), dtype=np.float64)

    mean_1, mean_2 = smooth(first), smooth(second)
    variance_1, variance_2 = smooth(first**2) - mean_1**2, smooth(second**2) - mean_2**2
    covariance = smooth(first * second) - mean_1 * mean_2
    luminance = (2 * mean_1 * mean_2 + _C1) / (mean_1**2 + mean_2**2 + _C1)
    structure = (2 * covariance + _C2) / (variance_1 + variance_2 + _C2)
    return float((luminance * structure).mean())


def _scaled(cam: NDArray[np.float32]) -> NDArray[np.float64]:
    highest = float(cam.max())
    return cam.astype(np.float64) / highest if highest > 0 else cam.astype(np.float64)


def _small(cam: NDArray[np.float32]) -> NDArray[np.float32]:
    """The map at no more than 32 cells a side, averaged; finer steps come from enlargement and are alike in any two."""
    step = max(1, cam.shape[0] // _SIDE)
    side = cam.shape[0] // step * step
    small: NDArray[np.float32] = (
        cam[:side, :side].reshape(side // step, step, side // step, step).mean(axis=(1, 3))
    )
    return small


def _judged(stages: list[RandomisedStage], baseline_spearman: float, baseline_ssim: float) -> SanityCheck:
    final = stages[-1]
    verdict = worst_of([_against(final.spearman, baseline_spearman), _against(final.ssim, baseline_ssim)])
    meaning = {
        "passed": "The maps depend on what the network learnt.",
        "inconclusive": "Whether the maps depend on what the network learnt cannot be told from so few images.",
    }.get(verdict, "These maps do not show what the network learnt; do not read anything into them.")
    return SanityCheck(
        verdict=verdict,
        statement=(
            f"Sanity check {verdict}: with all weights drawn at random the maps are alike by rank correlation "
            f"{_written(final.spearman)} and SSIM {_written(final.ssim)} (n = {final.ssim.n}); maps of two different "
            f"images by {formatting.decimal(baseline_spearman)} and {formatting.decimal(baseline_ssim)}. {meaning}"
        ),
        stages=stages,
        baseline_spearman=baseline_spearman,
        baseline_ssim=baseline_ssim,
    )


def _written(measured: Estimate) -> str:
    return measured.undefined if measured.value is None else formatting.decimal(measured.value)


def _against(measured: Estimate, baseline: float) -> Verdict:
    """passed where the whole interval lies below the baseline, failed where the mean does not."""
    value = measured.value if measured.value is not None else np.inf
    if value >= baseline:
        return "failed"
    return "passed" if measured.high is not None and measured.high < baseline else "inconclusive"
