"""What an explanation shows: Grad-CAM pictures of chosen test images."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Result(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class CamItem(_Result):
    """One image with the regions that raised the predicted class.

    truth and predicted are class names; probability is that of the predicted class, in [0, 1]. all_zero: no
    region raised it, so the picture carries no overlay. picture_png_base64: the grey image beside the
    overlaid one.
    """

    image_id: str
    truth: str
    predicted: str
    probability: float
    outcome: Literal["correct", "wrong"]
    all_zero: bool
    picture_png_base64: str


class CamSheet(_Result):
    """The examples of one architecture: by true class, correct before wrong, most confident first.

    layer: dotted path of the module whose activations were weighted. Colours are scaled to each image's own
    maximum and say nothing about strength across images; a region is not a lesion localisation.
    """

    architecture: str
    layer: str
    items: list[CamItem]
