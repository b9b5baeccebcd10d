"""Architectures: published parameter counts, shapes, Grad-CAM layers, and what a misspelt name gets."""

from __future__ import annotations

import socket
from typing import NoReturn

import pytest
import timm
import torch
from torch import nn

from data_contracts.errors import UsageProblem
from models.architectures import build, describe

NAMES = ("simple_cnn", "resnet18", "resnet50", "densenet121")


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def test_simple_cnn_has_the_published_number_of_parameters() -> None:
    assert parameters(build("simple_cnn", num_classes=3, img_size=224)) == 25_783_811


def test_densenet121_differs_from_the_published_count_only_by_its_grey_stem() -> None:
    stem_weights_per_channel = 64 * 7 * 7

    grey = parameters(build("densenet121", num_classes=1, img_size=224))

    assert grey == 6_954_881 - 2 * stem_weights_per_channel == 6_948_609


@pytest.mark.parametrize("name", NAMES)
def test_a_grey_batch_becomes_one_logit_per_class(name: str) -> None:
    model = build(name, num_classes=4, img_size=32).eval()

    assert model(torch.zeros(2, 1, 32, 32)).shape == (2, 4)


def test_simple_cnn_is_built_for_the_image_size() -> None:
    model = timm.create_model("simple_cnn", num_classes=2, in_chans=3, img_size=(40, 24))

    assert model(torch.zeros(1, 3, 40, 24)).shape == (1, 2)


def test_architectures_with_a_fixed_input_are_built_for_the_image_size() -> None:
    model = build("vit_tiny_patch16_224", num_classes=2, img_size=64).eval()

    assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 2)


def test_options_reach_the_constructor() -> None:
    model = build("simple_cnn", num_classes=2, img_size=32, options={"drop_rate": 0.25})

    assert model.get_submodule("classifier.3").p == 0.25


def test_the_seed_decides_the_weights() -> None:
    def first_weights(seed: int) -> torch.Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return next(build("simple_cnn", num_classes=2, img_size=16).parameters())

    assert torch.equal(first_weights(1), first_weights(1))
    assert not torch.equal(first_weights(1), first_weights(2))


@pytest.mark.parametrize(
    ("name", "layer", "mode", "source"),
    [
        ("simple_cnn", "features.7", "half", "lungline"),
        ("resnet18", "layer4", "imagenet_gray", "timm"),
        ("resnet50", "layer4", "imagenet_gray", "timm"),
        ("densenet121", "features.norm5", "imagenet_gray", "timm"),
        ("convnext_atto", "stages.3", "imagenet_gray", "timm"),
    ],
)
def test_the_grad_cam_layer_is_known(name: str, layer: str, mode: str, source: str) -> None:
    info = describe(name)

    assert (info.name, info.cam_layer, info.preprocessing_mode, info.source) == (name, layer, mode, source)
    assert isinstance(build(name, num_classes=2, img_size=32).get_submodule(info.cam_layer), nn.Module)


def test_simple_cnns_grad_cam_layer_has_no_negative_activation() -> None:
    model = build("simple_cnn", num_classes=2, img_size=32)
    outputs: list[torch.Tensor] = []
    model.get_submodule(describe("simple_cnn").cam_layer).register_forward_hook(
        lambda module, arguments, output: outputs.append(output)
    )

    model(torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(0)))

    assert outputs[0].shape == (2, 128, 8, 8)
    assert outputs[0].min() == 0


def test_describing_draws_no_random_number() -> None:
    before = torch.get_rng_state()

    describe("resnet26")

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_a_transformer_without_a_channels_first_map_is_told_how_to_name_a_layer(name: str) -> None:
    with pytest.raises(UsageProblem, match="cam_layer: "):
        describe(name)


def test_another_grad_cam_layer_can_be_named() -> None:
    assert describe("simple_cnn", "features.6").cam_layer == "features.6"
    assert describe("vit_tiny_patch16_224", "patch_embed.proj").cam_layer == "patch_embed.proj"


@pytest.mark.parametrize("layer", ["features.99", "classifier.1"])
def test_a_grad_cam_layer_that_is_absent_or_flat_is_refused(layer: str) -> None:
    with pytest.raises(UsageProblem, match=layer):
        describe("simple_cnn", layer)


@pytest.mark.parametrize(("typo", "meant"), [("resnet_50", "resnet50"), ("simple-cnn", "simple_cnn")])
def test_a_misspelt_name_gets_the_closest_ones(typo: str, meant: str) -> None:
    with pytest.raises(UsageProblem, match=f"Did you mean .*{meant}"):
        build(typo, num_classes=2, img_size=32)


def test_a_name_that_stands_for_weights_is_refused() -> None:
    with pytest.raises(UsageProblem, match="Write 'resnet50'"):
        build("resnet50.a1_in1k", num_classes=2, img_size=32)


def test_nothing_touches_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a connection was attempted")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)

    build("resnet18", num_classes=2, img_size=32)
    with pytest.raises(UsageProblem):
        build("hf-hub:timm/resnet18.a1_in1k", num_classes=2, img_size=32)


@pytest.mark.parametrize("option", ["pretrained", "checkpoint_path", "num_classes"])
def test_options_that_load_weights_or_change_the_task_are_refused(option: str) -> None:
    with pytest.raises(UsageProblem, match=option):
        build("resnet18", num_classes=2, img_size=32, options={option: True})


@pytest.mark.parametrize(("name", "size", "options"), [("resnet18", 32, {"dropp": 1}), ("simple_cnn", 4, {})])
def test_a_network_that_cannot_be_built_is_a_usage_problem(
    name: str, size: int, options: dict[str, object]
) -> None:
    with pytest.raises(UsageProblem, match=name):
        build(name, num_classes=2, img_size=size, options=options)
