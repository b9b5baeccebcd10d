"""AE-CNN: an auto-encoder that shrinks the image four times, and a classifier that reads what it shrank to.

Ranjan, Paul, Kapoor, Kar, Sethuraman and Sheet, "Jointly Learning Convolutional Representations to Compress
Radiological Images and Classify Thoracic Diseases in the Compressed Domain", ICVGIP 2018, doi
10.1145/3293353.3293408; described by reference system 0. Trained on classification and reconstruction together.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import timm
import torch
from timm.models import PretrainedCfg, build_model_with_cfg, generate_default_cfgs, register_model
from torch import nn
from torch.nn.functional import interpolate, pixel_shuffle

from data_contracts.errors import UsageProblem
from models.architectures.construction import build

SHRINK = 4  # of each side
KERNEL = 5  # of the first convolution
FILTERS = 32
SMALLEST_LATENT = 32  # pixels; the backbones halve a picture five times

# Mean 0 and std 1 say `unit` preprocessing: the reconstruction is compared with an image in [0, 1].
default_cfgs = generate_default_cfgs(
    {
        "ae_cnn": {
            "num_classes": 14,
            "input_size": (1, 1024, 1024),
            "fixed_input_size": True,
            "mean": (0.0,),
            "std": (1.0,),
        }
    }
)


class Reconstruction(NamedTuple):
    """What `AeCnn.reconstruct` returns for (B, C, H, W) images.

    logits: (B, num_classes). reconstruction: (B, C, H, W) in [0, 1]. latent: (B, 1, H/4, W/4) in [0, 1].
    """

    logits: torch.Tensor
    reconstruction: torch.Tensor
    latent: torch.Tensor


class AeCnn(nn.Module):
    """Encoder (865 parameters at one channel), decoder (160) and any timm classifier on the latent image.

    (B, in_chans, H, W) in [0, 1] -> (B, num_classes) logits. With DenseNet-121 and 14 outputs 6,969,231
    parameters, with DenseNet-201 18,120,847.

    backbone, backbone_options: a timm name and its constructor arguments. backbone_chans: 3 replicates the latent
    and normalises each channel as the backbone's weights expect; 1 normalises with the mean of those statistics,
    which a stem summed over RGB answers as it would to the replicated latent. backbone_size: side in pixels the
    latent is resized to (bilinear, differentiable); None keeps it, but enlarges one below 32 pixels to 32.
    Raises UsageProblem unless the image's sides are multiples of 4 and at least 32.
    """

    # Published weights are the classifier's; there are none of the auto-encoder.
    pretrained_part = "backbone"
    latent_mean: torch.Tensor
    latent_std: torch.Tensor

    def __init__(
        self,
        num_classes: int = 14,
        in_chans: int = 1,
        img_size: int | tuple[int, int] = 1024,
        backbone: str = "densenet121",
        backbone_chans: Literal[1, 3] = 3,
        backbone_size: int | None = None,
        backbone_options: Mapping[str, Any] = MappingProxyType({}),
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        height, width = (img_size, img_size) if isinstance(img_size, int) else img_size
        _check_image_size(height, width)
        if backbone_chans not in (1, 3):
            raise ValueError(f"backbone_chans must be 1 or 3, not {backbone_chans}")
        self.num_classes = num_classes
        self.drop_rate = drop_rate
        latent_size = (height // SHRINK, width // SHRINK)
        # None: the backbone reads the latent as it is, also of images larger than the one built for.
        self.backbone_size: tuple[int, int] | None = None
        if backbone_size is not None:
            self.backbone_size = (backbone_size, backbone_size)
        elif min(latent_size) < SMALLEST_LATENT:
            self.backbone_size = (max(SMALLEST_LATENT, latent_size[0]), max(SMALLEST_LATENT, latent_size[1]))

        filters = nn.Conv2d(in_chans, FILTERS, KERNEL, stride=SHRINK, padding=KERNEL // 2)
        mixture = nn.Conv2d(FILTERS, 1, kernel_size=1)
        self.encoder = nn.Sequential(filters, nn.ELU(), mixture)
        self.decoder = nn.Conv2d(1, in_chans * SHRINK**2, kernel_size=3, padding=1)
        _start_as_pooling(filters, mixture, self.decoder)
        options = {"drop_rate": drop_rate, **backbone_options} if drop_rate else backbone_options
        backbone_side = max(self.backbone_size or latent_size)
        self.backbone: Any = build(
            backbone, num_classes=num_classes, in_chans=backbone_chans, img_size=backbone_side, options=options
        )
        config = timm.get_pretrained_cfg(backbone) or PretrainedCfg()
        mean, std = _statistics(config, backbone_chans)
        self.register_buffer("latent_mean", mean, persistent=False)
        self.register_buffer("latent_std", std, persistent=False)
        stages = getattr(self.backbone, "feature_info", None) or []
        self.feature_info = [
            {**stage, "module": f"backbone.{stage['module']}", "reduction": SHRINK * stage["reduction"]}
            for stage in stages
        ]

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """(B, in_chans, H, W) -> latent (B, 1, H/4, W/4) in [0, 1]; no gradient where the clamp cuts."""
        latent: torch.Tensor = self.encoder(images)
        return latent.clamp(0, 1)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """(B, 1, h, w) -> image (B, in_chans, 4h, 4w) in [0, 1]."""
        return pixel_shuffle(self.decoder(latent), SHRINK).clamp(0, 1)

    def reconstruct(self, images: torch.Tensor) -> Reconstruction:
        """The logits together with what the auto-encoder made of the images, for the joint loss."""
        latent = self.encode(images)
        return Reconstruction(self.backbone(self._backbone_input(latent)), self.decode(latent), latent)

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """The backbone's features of the latent."""
        features: torch.Tensor = self.backbone.forward_features(self._backbone_input(self.encode(images)))
        return features

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """The backbone's head on `forward_features`."""
        output: torch.Tensor = self.backbone.forward_head(features, pre_logits=pre_logits)
        return output

    def get_classifier(self) -> Any:
        """The backbone's classifier."""
        return self.backbone.get_classifier()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.backbone(self._backbone_input(self.encode(images)))
        return logits

    def _backbone_input(self, latent: torch.Tensor) -> torch.Tensor:
        if self.backbone_size is not None:
            latent = interpolate(latent, size=self.backbone_size, mode="bilinear", align_corners=False)
        # One channel becomes as many as there are means.
        normalised: torch.Tensor = (latent - self.latent_mean) / self.latent_std
        return normalised


@torch.no_grad()
def _start_as_pooling(filters: nn.Conv2d, mixture: nn.Conv2d, decoder: nn.Conv2d) -> None:
    """Begin with encoder = 5x5 average pooling at stride 4 and decoder = four-fold nearest enlargement.

    Ordinary random weights leave a median 55 % of the latent outside [0, 1], where the clamp has no gradient, and
    one time in six nearly all of it. The filters vary about 1/25 in pairs of opposite sign: their responses to an
    image in [0, 1] stay positive, where ELU is the identity, so the variations cancel in the sum; equal filters
    would receive equal gradients and stay equal for ever.
    """
    mean = 1 / (KERNEL**2 * filters.in_channels)
    variation = torch.empty_like(filters.weight[: FILTERS // 2]).uniform_(-mean / 2, mean / 2)
    filters.weight.copy_(mean + torch.cat([variation, -variation]))
    mixture.weight.fill_(1 / FILTERS)
    decoder.weight.zero_()
    decoder.weight[:, :, 1, 1] = 1
    for layer in (filters, mixture, decoder):
        if layer.bias is not None:
            layer.bias.zero_()


def _check_image_size(height: int, width: int) -> None:
    if height % SHRINK or width % SHRINK or min(height, width) < 32:
        raise UsageProblem(
            f"ae_cnn cannot read images of {height}x{width} pixels.",
            why="Its latent image is a quarter as high and wide, and it is enlarged back to the same size.",
            cure="Choose an image size of 32 or more that four divides; 1024 was published.",
        )


def _statistics(config: PretrainedCfg, channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(1, channels, 1, 1) mean and std the backbone's weights were made for, in the unit range."""
    mean, std = torch.tensor(config.mean), torch.tensor(config.std)
    if channels == 1:
        mean, std = mean.mean(), std.mean()
    return (
        mean.expand(channels).reshape(1, channels, 1, 1).clone(),
        std.expand(channels).reshape(1, channels, 1, 1).clone(),
    )


@register_model
def ae_cnn(pretrained: bool = False, **options: Any) -> AeCnn:
    """timm's entry point for `AeCnn`; there are no pretrained weights of the whole."""
    model: AeCnn = build_model_with_cfg(AeCnn, "ae_cnn", pretrained, **options)
    return model
