"""SimpleCNN: three convolutions and two linear layers, the small baseline of reference system 1."""

from __future__ import annotations

from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn

from data_contracts.errors import UsageProblem

# The mean and std say `half` preprocessing; fixed_input_size makes timm pass img_size to the constructor.
default_cfgs = generate_default_cfgs(
    {
        "simple_cnn": {
            "num_classes": 3,
            "input_size": (1, 224, 224),
            "fixed_input_size": True,
            "mean": (0.5,),
            "std": (0.5,),
            "first_conv": "features.0",
            "classifier": "classifier.4",
        }
    }
)


class SimpleCNN(nn.Module):
    """3 x [3x3 convolution, ReLU, 2x2 max pooling], then Linear 256, ReLU, dropout, Linear; no batch norm.

    (B, in_chans, H, W) -> (B, num_classes) logits. 25,783,811 parameters at 1x224x224 and 3 classes, nearly
    all of them in the first linear layer, so the input size is part of the architecture.
    """

    def __init__(
        self,
        num_classes: int = 3,
        in_chans: int = 1,
        img_size: int | tuple[int, int] = 224,
        drop_rate: float = 0.4,
    ) -> None:
        super().__init__()
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        if min(height, width) < 8:
            raise UsageProblem(
                f"simple_cnn cannot read images of {height}x{width} pixels.",
                why="It halves the image three times, which leaves nothing of fewer than 8 pixels.",
                cure="Choose an image size of 8 or more; 224 is usual.",
            )
        self.num_classes = num_classes
        self.drop_rate = drop_rate
        self.features = nn.Sequential(*_block(in_chans, 32), *_block(32, 64), *_block(64, 128))
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(128 * (height // 8) * (width // 8), 256),
            nn.ReLU(),
            nn.Dropout(drop_rate),
            nn.Linear(256, num_classes),
        )
        # The ReLU after the third convolution: the convolution itself also has negative activations.
        self.feature_info = [{"module": "features.7", "num_chs": 128, "reduction": 4}]

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, in_chans, H, W) -> (B, 128, H/8, W/8)."""
        features: torch.Tensor = self.features(images)
        return features

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Logits of `forward_features`; with pre_logits the 256 numbers before the last layer and its dropout."""
        layers = self.classifier[:-2] if pre_logits else self.classifier
        output: torch.Tensor = layers(features)
        return output

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return self.classifier[-1]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(images))


def _block(in_channels: int, out_channels: int) -> list[nn.Module]:
    return [nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]


@register_model
def simple_cnn(pretrained: bool = False, **options: Any) -> SimpleCNN:
    """timm's entry point for `SimpleCNN`; there are no pretrained weights."""
    model: SimpleCNN = build_model_with_cfg(SimpleCNN, "simple_cnn", pretrained, **options)
    return model
