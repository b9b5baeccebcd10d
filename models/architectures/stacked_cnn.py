"""StackedCNN: pairs of unpadded convolutions under a dense layer of 1024 features, reference system 2's network.

Described by the code published with Sarkar et al., "An Empirical Model of Classifying Lung Affected Diseases to
Detect COVID-19 Using Chest X-ray Employing Convolutional Neural Architecture" (IEEE Xplore 9936762).
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from data_contracts.errors import UsageProblem

SMALLEST_IMAGE = 76  # pixels; what four times (two unpadded 3x3 convolutions, 2x2 pooling) leaves one pixel of

default_cfgs = generate_default_cfgs(
    {
        "stacked_cnn": {
            "num_classes": 4,
            "input_size": (3, 224, 224),
            "fixed_input_size": True,
            "first_conv": "features.1",
            "classifier": "classifier.7",
        }
    }
)


class StackedCNN(nn.Module):
    """Batch norm of the input, 4 x [3x3 convolution, ReLU, 3x3 convolution, ReLU, 2x2 max pooling] without
    padding, then Linear 512, ReLU, dropout, Linear 1024, ReLU, dropout, Linear.

    (B, in_chans, H, W) -> (B, num_classes) logits. 31,429,706 parameters at 3x224x224 and 4 classes (Keras:
    31,429,712); one input channel has 1,156 fewer. width: channels of the first stage, doubled in each further
    one. Raises UsageProblem for images below 76 pixels, which the unpadded convolutions use up.
    """

    def __init__(
        self,
        num_classes: int = 4,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 224,
        drop_rate: float = 0.3,
        width: int = 64,
    ) -> None:
        super().__init__()
        height, breadth = (img_size, img_size) if isinstance(img_size, int) else img_size
        if min(height, breadth) < SMALLEST_IMAGE:
            raise UsageProblem(
                f"stacked_cnn cannot read images of {height}x{breadth} pixels.",
                why="Its eight unpadded convolutions and four poolings leave nothing of them.",
                cure=f"Choose an image size of {SMALLEST_IMAGE} or more; 224 is usual.",
            )
        self.num_classes = num_classes
        self.drop_rate = drop_rate
        channels = [width * factor for factor in (1, 2, 4, 8)]
        stages = [
            layer
            for before, after in zip([in_chans, *channels], channels, strict=False)
            for layer in _stage(before, after)
        ]
        self.features = nn.Sequential(nn.BatchNorm2d(in_chans), *stages)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels[-1] * _side(height) * _side(breadth), 512),
            nn.ReLU(),
            nn.Dropout(drop_rate),
            nn.Linear(512, 1024),
            nn.ReLU(),
            nn.Dropout(drop_rate),
            nn.Linear(1024, num_classes),
        )
        # The ReLU after the eighth convolution: 20x20 cells of a 224x224 image.
        self.feature_info = [{"module": "features.19", "num_chs": channels[-1], "reduction": 8}]

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, in_chans, H, W) -> (B, 8 x width, h, w); h = w = 10 for 224 pixels."""
        features: torch.Tensor = self.features(images)
        return features

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Logits of `forward_features`; with pre_logits the 1024 numbers before the last layer and its dropout."""
        layers = self.classifier[:-2] if pre_logits else self.classifier
        output: torch.Tensor = layers(features)
        return output

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.classifier[-1]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(images))


def _stage(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.Conv2d(in_channels, out_channels, kernel_size=3),
        nn.ReLU(),
        nn.Conv2d(out_channels, out_channels, kernel_size=3),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]


def _side(pixels: int) -> int:
    """What four stages leave of a side: each takes a border of two pixels, then half."""
    for _ in range(4):
        pixels = (pixels - 4) // 2
    return pixels


@register_model
def stacked_cnn(pretrained: bool = False, **options: Any) -> StackedCNN:
    """timm's entry point for `StackedCNN`; there are no pretrained weights."""
    model: StackedCNN = build_model_with_cfg(StackedCNN, "stacked_cnn", pretrained, **options)
    return model
