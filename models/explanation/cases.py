"""The images that may be explained, with what is true of them and what the model said, and fair samples of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.evaluation.predictions import Predictions

FACTS = ("row", "mask_file", "boxes")  # catalog columns


@dataclass(frozen=True, slots=True)
class Cases:
    """n predicted images of a store.

    frame: image_id, group_id, label and FACTS as in the Catalog. truth (n, K): 1, 0, -1 unknown; probabilities
    (n, K).
    """

    frame: pd.DataFrame
    truth: NDArray[np.int8]
    probabilities: NDArray[np.float64]
    class_names: list[str]

    @classmethod
    def of(cls, predictions: Predictions, kept: pd.DataFrame) -> Self:
        """kept: the catalog rows of the store the predictions were made from."""
        facts = kept[["image_id", *FACTS]]
        frame = predictions.frame[["image_id", "group_id", "label"]].merge(
            facts, on="image_id", how="left", validate="one_to_one"
        )
        return cls(frame, predictions.truth, predictions.probabilities, predictions.class_names)

    @property
    def rows(self) -> NDArray[np.int64]:
        """(n,) rows of the image store."""
        return self.frame["row"].to_numpy(np.int64)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """(n,) the most probable class."""
        most_probable: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return most_probable

    def sample(self, among: NDArray[np.bool_], count: int, seed: int) -> NDArray[np.int64]:
        """Positions of at most `count` images with `among` (n,), as drawn; one image of each identity group.

        So that no patient fills a sample and every image is a trial of its own. The draw depends on the images and
        the seed alone.
        """
        order = np.argsort(self.frame["image_id"].to_numpy(str), kind="stable")
        drawn = np.random.default_rng(seed).permutation(order)
        drawn = drawn[among[drawn]]
        first_of_group = ~self.frame["group_id"].iloc[drawn].duplicated().to_numpy()
        found: NDArray[np.int64] = drawn[first_of_group][:count]
        return found
