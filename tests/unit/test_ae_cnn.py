"""AE-CNN: its analytic start, what it returns, and which backbones and sizes it accepts."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import avg_pool2d, interpolate, mse_loss

from data_contracts.errors import UsageProblem
from models.architectures import build
from models.architectures.ae_cnn import AeCnn

LIGHT = {"backbone": "resnet10t"}


def network(size: int = 128, **options: object) -> AeCnn:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = build("ae_cnn", num_classes=3, img_size=size, options={**LIGHT, **options})
    assert isinstance(model, AeCnn)
    return model.eval()


def pictures(count: int = 2, size: int = 128, channels: int = 1) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(0))


def test_at_the_start_the_latent_is_an_average_pool() -> None:
    images = pictures()

    with torch.inference_mode():
        latent = network().encode(images)

    pooled = avg_pool2d(images, kernel_size=5, stride=4, padding=2)
    assert latent.shape == (2, 1, 32, 32)
    assert (latent - pooled).abs().max() < 5e-7


def test_at_the_start_the_decoder_repeats_each_latent_pixel_exactly() -> None:
    latent = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))

    with torch.inference_mode():
        assert torch.equal(network().decode(latent), interpolate(latent, scale_factor=4, mode="nearest"))


def test_each_filter_learns_something_of_its_own() -> None:
    model, images = network(), pictures()

    mse_loss(model.reconstruct(images).reconstruction, images).backward()

    # Equal filters would have equal gradients here, and so stay equal for ever.
    assert len(model.encoder[2].weight.grad.unique()) == 32


def test_the_clamp_stops_no_gradient_at_the_start() -> None:
    before_clamp = network().encoder(pictures()).detach().requires_grad_()

    before_clamp.clamp(0, 1).sum().backward()

    assert (before_clamp.grad == 1).all()


def test_reconstruct_returns_what_forward_returns_and_the_images() -> None:
    model, images = network(), pictures()

    with torch.inference_mode():
        logits, reconstruction, latent = model.reconstruct(images)

        assert torch.equal(logits, model(images))
        assert torch.equal(reconstruction, model.decode(latent))
    assert logits.shape == (2, 3)
    assert reconstruction.shape == images.shape
    assert 0 <= reconstruction.min() <= reconstruction.max() <= 1


def test_latent_and_reconstruction_stay_in_range_for_any_weights() -> None:
    model, images = network(), pictures()
    with torch.no_grad():
        model.encoder[0].weight.mul_(-30)
        model.decoder.weight.mul_(50)

    _, reconstruction, latent = model.reconstruct(images)

    assert 0 <= latent.min() <= latent.max() <= 1
    assert 0 <= reconstruction.min() <= reconstruction.max() <= 1


def test_the_backbone_sees_three_normalised_copies_of_the_latent() -> None:
    model, images = network(), pictures()
    seen: list[torch.Tensor] = []
    model.backbone.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))

    with torch.inference_mode():
        latent = model.reconstruct(images).latent

    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(seen[0], (latent - mean[:, None, None]) / std[:, None, None])


def test_a_grey_backbone_sees_one_channel_with_the_mean_statistics() -> None:
    model, images = network(backbone_chans=1), pictures()
    seen: list[torch.Tensor] = []
    model.backbone.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))

    with torch.inference_mode():
        latent = model.reconstruct(images).latent

    torch.testing.assert_close(seen[0], (latent - 0.449) / 0.226)


@pytest.mark.parametrize(("size", "options", "side"), [(64, {}, 32), (128, {}, 32), (256, {}, 64)])
def test_a_latent_too_small_for_five_halvings_is_enlarged(
    size: int, options: dict[str, object], side: int
) -> None:
    model = network(size, **options)
    seen: list[torch.Size] = []
    model.backbone.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].shape))

    assert model(pictures(1, size)).shape == (1, 3)
    assert seen == [(1, 3, side, side)]


def test_a_resized_latent_still_hands_the_gradient_back() -> None:
    model = network(backbone="inception_v3", backbone_size=75)

    model(pictures()).sum().backward()

    assert model.encoder[0].weight.grad is not None
    assert model.encoder[0].weight.grad.abs().max() > 0


def test_a_vision_transformer_is_built_for_the_size_of_the_latent() -> None:
    model = network(backbone="vit_tiny_patch16_224")

    assert model(pictures()).shape == (2, 3)


def test_the_published_size_runs() -> None:
    images = pictures(1, 1024)

    with torch.inference_mode():
        logits, reconstruction, latent = network(1024).reconstruct(images)

    assert logits.isfinite().all()
    assert latent.shape == (1, 1, 256, 256)
    # Uniform noise has variance 1/12; what remains of it in averages of 25 pixels is lost in the enlargement.
    assert math.isclose(mse_loss(reconstruction, images).item(), 1 / 12, rel_tol=0.1)


@pytest.mark.parametrize(
    "options",
    [
        {"backbone": "densnet121"},
        {"backbone": "hf-hub:timm/resnet10t"},
        {"backbone_options": {"pretrained": True}},
    ],
)
def test_a_backbone_passes_the_same_checks_as_an_architecture(options: dict[str, object]) -> None:
    with pytest.raises(UsageProblem):
        network(**options)
