"""Grad-CAM pictures of single images, from a copy of the network that answers."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_contracts.errors import UsageProblem
from models.explanation.grad_cam import grad_cam, method_for
from models.explanation.picture import draw_cam
from models.explanation.results import Method
from models.registry.bundle import BundleSpec
from models.scoring.scorer import Scorer

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Overlays:
    """Draws for one version. A copy of the network, because Grad-CAM hangs hooks into the one it runs."""

    network: nn.Module
    layer: str
    method: Method
    spec: BundleSpec
    _drawing: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @classmethod
    def of(cls, scorer: Scorer) -> Overlays | None:
        """None for an architecture without a feature map to explain."""
        from models.architectures.description import describe

        spec = scorer.bundle.spec
        recipe = spec.recipe.get("architecture")
        named = recipe.get("cam_layer") if isinstance(recipe, dict) else None
        blank = np.zeros((1, spec.image_size, spec.image_size), dtype=np.uint8)
        network = copy.deepcopy(scorer.network)
        try:
            layer = describe(spec.architecture, str(named) if named else None, spec.options).cam_layer
            method = method_for(network, layer, spec.preprocessing.apply(blank))
        except UsageProblem:
            return None
        return cls(network, layer, method, spec)

    def png(self, pixels: NDArray[np.uint8], class_index: int) -> bytes:
        """The image beside the same image under the map of a class. pixels: (H, W), as the network is given them."""
        inputs = self.spec.preprocessing.apply(pixels[None])
        with self._drawing:
            (cam,) = grad_cam(self.network, self.layer, inputs, np.array([class_index]), method=self.method)
        return draw_cam(pixels, cam)
