"""Deletion and insertion (Petsiuk, Das, Saenko 2018): does the model's answer hang on what the map marks?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from models.evaluation.predictions import predict_probabilities
from models.evaluation.results import Estimate
from models.explanation.cases import Cases
from models.explanation.faithfulness.estimates import LEFT_OUT, estimate, in_words, verdict_on, worst_of
from models.explanation.grad_cam import BATCH, Explainer
from models.explanation.results import DeletionInsertion, Perturbation
from models.explanation.settings import FaithfulnessSettings
from models.output import Output

Saliency = Literal["Grad-CAM", "random", "centre"]
SALIENCIES: tuple[Saliency, ...] = get_args(Saliency)

BLUR = 0.1  # standard deviation of the baseline's blur, share of the picture's width
_CENTRE_WIDTH = 0.25  # standard deviation of the centred control, share of the side
_RANDOM_CELLS = 7  # a side; as coarse as the maps of common networks, or the control would only add fine noise


def perturbed(
    image: NDArray[np.uint8], saliency: NDArray[np.float32], steps: int, generator: np.random.Generator
) -> NDArray[np.uint8]:
    """(2, steps + 1, H, W) pictures: from the image to its blurred self, then from that back to the image.

    Pixels go in the order of the saliency (H, W), in equal shares; pixels of equal saliency, such as all that a map
    leaves at zero, in random order.
    """
    blurred = gaussian_filter(image.astype(np.float32), BLUR * image.shape[1]).round().astype(np.uint8)
    order = np.lexsort((generator.random(image.size), -saliency.ravel()))
    rank = np.empty(image.size, dtype=np.int64)
    rank[order] = np.arange(image.size)
    reached = np.linspace(0, image.size, steps + 1).round().astype(np.int64)[:, None] > rank
    reached = reached.reshape(steps + 1, *image.shape)
    return np.stack([np.where(reached, blurred, image), np.where(reached, image, blurred)])


def measure_deletion_insertion(
    explainer: Explainer, cases: Cases, findings: Sequence[str], output: Output, settings: FaithfulnessSettings
) -> DeletionInsertion:
    """On images the model calls a finding, for the class it calls them. findings: the classes that are findings."""
    called = np.isin(cases.predicted, [cases.class_names.index(name) for name in findings])
    chosen = cases.sample(called, settings.perturbed_images, settings.seed)
    rows, classes = cases.rows[chosen], cases.predicted[chosen]
    generator = np.random.default_rng(settings.seed)
    areas = np.empty((len(chosen), len(SALIENCIES), 2))
    for i, cam in enumerate(explainer.maps(rows, classes)):
        image = np.asarray(explainer.images[rows[i]])
        for j, saliency in enumerate(_saliencies(cam, image.shape, generator)):
            pictures = perturbed(image, saliency, settings.perturbation_steps, generator).reshape(-1, *image.shape)
            probabilities = predict_probabilities(
                explainer.model,
                pictures,
                np.arange(len(pictures)),
                explainer.preprocessing,
                batch_size=BATCH,
                output=output,
            )[:, classes[i]]
            areas[i, j] = np.trapezoid(probabilities.reshape(2, -1), axis=1) / settings.perturbation_steps
    return _judged(areas, settings)


def _saliencies(
    cam: NDArray[np.float32], shape: tuple[int, ...], generator: np.random.Generator
) -> tuple[NDArray[np.float32], ...]:
    """The map, a random one as coarse as maps are, and a Gaussian at the centre, in the order of SALIENCIES."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    offsets = [(rows + 0.5) / shape[0] - 0.5, (columns + 0.5) / shape[1] - 0.5]
    centre = np.exp(-sum(offset**2 for offset in offsets) / (2 * _CENTRE_WIDTH**2)).astype(np.float32)
    random = generator.random((_RANDOM_CELLS, _RANDOM_CELLS)).astype(np.float32)
    return _resized(cam, shape), _resized(random, shape), centre


def _resized(saliency: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
    picture = Image.fromarray(saliency).resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(picture, dtype=np.float32)


def _judged(areas: NDArray[np.float64], settings: FaithfulnessSettings) -> DeletionInsertion:
    """areas (n, saliencies, 2): deletion and insertion of each image."""
    undefined = "no test image is called a finding" if settings.perturbed_images else LEFT_OUT

    def mean(values: NDArray[np.float64]) -> Estimate:
        return estimate("mean", values, settings, undefined)

    score = areas[:, :, 1] - areas[:, :, 0]
    over_random, over_centre = (mean(score[:, 0] - score[:, control]) for control in (1, 2))
    verdict = worst_of([verdict_on(over_random, at_least=0), verdict_on(over_centre, at_least=0)])
    said = (
        f"the area of insertion minus deletion is {in_words(over_random)} more than a random map has, and "
        f"{in_words(over_centre)} more than a blob at the centre."
        if over_random.value is not None
        else f"{undefined}."
    )
    return DeletionInsertion(
        verdict=verdict,
        reason=over_random.undefined,
        statement=f"Deletion and insertion {verdict}: {said}",
        saliencies=[
            Perturbation(saliency=name, deletion=mean(areas[:, j, 0]), insertion=mean(areas[:, j, 1]))
            for j, name in enumerate(SALIENCIES)
        ],
        gain_over_random=over_random,
        gain_over_centre=over_centre,
    )
