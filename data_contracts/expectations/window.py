"""The table that scoring hands to monitoring: one row per image that the champion has answered."""

from __future__ import annotations

from collections.abc import Sequence

PROBABILITY = "p_"  # + class name: the probability of that class, one column each

DESCRIPTORS = ("mean", "std", "p01", "p50", "p99", "saturated", "sharpness", "border_energy")

# As in the Catalog. A window may hold further columns; these must be there.
WINDOW_COLUMNS = ("image_id", "source", "view", "age", "width", "height", *DESCRIPTORS)


def probability_columns(classes: Sequence[str]) -> list[str]:
    """The window's probability columns of a task with these classes, in output order."""
    return [PROBABILITY + name for name in classes]
