"""Maximum mean discrepancy between two samples of vectors, with a Gaussian kernel of the median distance.

Gretton et al. (2012), "A kernel two-sample test", Journal of Machine Learning Research 13, 723-773.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]  # (n, c), finite

_MEASURED = 1_000  # rows whose distances the median is taken of


def median_distance(rows: Vectors) -> float:
    """Median distance between two different rows; 1 where there are fewer than two or most are equal."""
    from scipy.spatial.distance import pdist

    spread = np.linspace(0, len(rows) - 1, min(_MEASURED, len(rows))).astype(np.int64)
    distances = pdist(rows[spread].astype(np.float64))
    middle = float(np.median(distances)) if len(distances) else 0.0
    return middle if middle > 0 else 1.0


def kernel(first: Vectors, second: Vectors, bandwidth: float) -> NDArray[np.float32]:
    """(n, m) exp(-distance² / (2 bandwidth²))."""
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * (first @ second.T)
    return np.asarray(np.exp(squares.clip(min=0) / np.float32(-2 * bandwidth**2)), dtype=np.float32)


def squared_discrepancy(window: Vectors, reference: Vectors, bandwidth: float) -> float:
    """Unbiased MMD² (Gretton et al. 2012, equation 3); around 0 and possibly below where nothing differs.

    Both samples have at least two rows.
    """
    n, m = len(window), len(reference)
    within = kernel(window, window, bandwidth).sum(dtype=np.float64) - n
    among = kernel(reference, reference, bandwidth).sum(dtype=np.float64) - m
    between = kernel(window, reference, bandwidth).mean(dtype=np.float64)
    return float(within / (n * (n - 1)) + among / (m * (m - 1)) - 2 * between)


def resampled_discrepancies(rows: Vectors, members: NDArray[np.bool_], bandwidth: float) -> NDArray[np.float64]:
    """(b,) MMD² between the rows that are in each window and those that are not, members being (n, b)."""
    gram = kernel(rows, rows, bandwidth).astype(np.float32)
    # MMD² does not change when a function of one row is added to its row and column; centred numbers lose no digits.
    means = gram.mean(axis=1, dtype=np.float64)
    gram += np.float32(means.mean()) - means.astype(np.float32)[:, None] - means.astype(np.float32)
    drawn = members.astype(np.float32)
    n = members.sum(axis=0).astype(np.float64)
    m = len(rows) - n
    reach = gram @ drawn
    inside = np.einsum("ib,ib->b", drawn, reach, dtype=np.float64)
    to_all = reach.sum(axis=0, dtype=np.float64)  # of the window's rows to all rows
    outside = gram.sum(dtype=np.float64) - 2 * to_all + inside
    diagonal = gram.diagonal().astype(np.float64)
    own = diagonal @ members
    within = (inside - own) / (n * (n - 1))
    among = (outside - (diagonal.sum() - own)) / (m * (m - 1))
    return np.asarray(within + among - 2 * (to_all - inside) / (n * m), dtype=np.float64)


def witness(rows: Vectors, window: Vectors, reference: Vectors, bandwidth: float) -> NDArray[np.float64]:
    """(n,) how much more alike the window than the reference a row is; its means over both differ by biased MMD²."""
    to_window = kernel(rows, window, bandwidth).mean(axis=1, dtype=np.float64)
    to_reference = kernel(rows, reference, bandwidth).mean(axis=1, dtype=np.float64)
    return np.asarray(to_window - to_reference, dtype=np.float64)
