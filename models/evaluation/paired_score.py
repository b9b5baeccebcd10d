"""The interval of a difference between two proportions of the same images, also where hardly any image differs.

A bootstrap cannot resample what it never saw: where no image was lost its lower bound is 0, however few images there
are. The score interval of Tango 1998 (Statistics in Medicine 17:891) asks instead which true differences would make
what was seen unlikely. Several images of one patient count as fewer: their numbers are divided by the design effect
(Rao & Scott 1992, Biometrics 48:577).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from models.evaluation.bootstrap import Groups
from models.evaluation.delong import Z

# Below so many identity groups, or groups that disagree, neither an interval nor a design effect can be relied on.
FEWEST_GROUPS = 10
_TINY = 1e-9


def score_interval(gained: float, lost: float, n: float) -> tuple[float, float]:
    """95 % interval of (gained - lost) / n, where the two disagree on gained + lost of n > 0 images.

    The numbers need not be whole.
    """
    return _lower_bound(gained, lost, n), -_lower_bound(lost, gained, n)


def design_effect(difference: NDArray[np.int64], groups: Groups) -> float:
    """How many images say as much as one independent image would, 1 or more.

    difference (n,): 1, 0 or -1 for each image. Where fewer than FEWEST_GROUPS groups disagree, their likeness cannot
    be seen, and all images of a group count as alike.
    """
    n = len(difference)
    size, total, disagreeing = groups.totals(np.stack([np.ones(n), difference, np.abs(difference)]))
    mean = total.sum() / n
    of_images = float(np.sum((difference - mean) ** 2))
    of_groups = float(np.sum((total - size * mean) ** 2))
    effects = [1.0]
    if of_images > 0:
        effects.append(of_groups / of_images)
    if np.count_nonzero(disagreeing) < FEWEST_GROUPS or of_images == 0:
        effects.append(float(np.sum(size**2)) / n)
    return max(effects)


def _lower_bound(gained: float, lost: float, n: float) -> float:
    value = (gained - lost) / n
    if value <= _TINY - 1:
        return -1.0

    def excess(delta: float) -> float:
        """Above 0 where delta is so low that the score test of it rejects."""
        a, b = 2 * n, (2 * n - gained + lost) * delta - gained - lost
        c = -lost * delta * (1 - delta)
        share_lost = (np.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)  # the likeliest one, were delta true
        return float((gained - lost - n * delta) ** 2 - Z**2 * n * (2 * share_lost + delta * (1 - delta)))

    return float(brentq(excess, -1.0, value - _TINY))
