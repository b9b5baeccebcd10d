"""Architectures: published parameter counts, shapes, Grad-CAM layers, and what a misspelt name gets."""

from __future__ import annotations

import socket
from typing import Any, NoReturn

import pytest
import timm
import torch
from torch import nn

from data_contracts.errors import UsageProblem
from models.architectures import build, describe
from models.architectures.parameter_count import keras_count
from models.architectures.parameter_count import torch_count as parameters
from models.architectures.resnet_heads import NAMES as RESNET_HEADS
from models.architectures.trunk import head_of

HOUSE = ("simple_cnn", "stacked_cnn", "ae_cnn", *RESNET_HEADS)
NAMES = (*HOUSE, "resnet18", "resnet50", "densenet121")


def shape_only(name: str, **arguments: Any) -> nn.Module:
    """The network without values, which is fast and enough for counting."""
    with torch.device("meta"):
        return build(name, **arguments)


@pytest.mark.parametrize(
    ("name", "outputs", "channels", "size", "options", "published"),
    [
        ("resnet50", 0, 3, 224, {}, 23_508_032),
        ("resnet50", 1, 3, 256, {}, 23_510_081),
        ("resnet50_flatten", 1, 3, 256, {}, 23_508_032 + 131_073),
        ("ae_cnn", 14, 1, 1024, {}, 6_969_231),
        ("ae_cnn", 2, 1, 1024, {}, 6_956_931),
        ("ae_cnn", 14, 1, 1024, {"backbone": "densenet201"}, 18_120_847),
        ("simple_cnn", 3, 1, 224, {}, 25_783_811),
        ("resnet50_two_layer", 3, 1, 224, {}, 24_027_075),
        ("stacked_cnn", 4, 3, 224, {}, 31_429_706),
        # The grey input saves two channels of batch norm and of the first 64 filters.
        ("stacked_cnn", 4, 1, 224, {}, 31_429_706 - 2 * (2 + 64 * 9)),
        ("resnet50_four_layer", 4, 3, 224, {}, 23_508_032 + 5_311_620),
        ("resnet50_conv_head", 4, 3, 224, {}, 23_508_032 + 12_195_588),
        ("densenet121", 1, 3, 224, {}, 6_954_881),
        ("densenet121", 0, 3, 224, {}, 6_953_856),
        ("densenet121", 14, 3, 224, {}, 6_968_206),
        ("densenet121", 1, 1, 224, {}, 6_954_881 - 2 * 64 * 7 * 7),
    ],
)
def test_networks_have_the_published_number_of_parameters(
    name: str, outputs: int, channels: int, size: int, options: dict[str, object], published: int
) -> None:
    model = shape_only(name, num_classes=outputs, in_chans=channels, img_size=size, options=options)

    assert parameters(model) == published


@pytest.mark.parametrize(
    ("name", "outputs", "channels", "size", "part", "published"),
    [
        ("resnet50", 1, 3, 256, "fc", 2_049),
        ("resnet50_flatten", 1, 3, 256, "fc", 131_073),
        ("ae_cnn", 14, 1, 1024, "encoder", 865),
        ("ae_cnn", 14, 1, 1024, "decoder", 160),
        ("ae_cnn", 14, 1, 1024, "backbone", 6_968_206),
        ("resnet50_two_layer", 3, 1, 224, "fc", 525_315),
        ("resnet50_two_layer", 3, 1, 224, "layer4", 14_964_736),
        ("resnet50_two_layer", 3, 1, 224, "conv1", 3_136),
        ("resnet50_four_layer", 4, 3, 224, "fc", 5_311_620),
        ("resnet50_conv_head", 4, 3, 224, "fc", 12_195_588),
        ("densenet121", 1, 3, 224, "classifier", 1_025),
    ],
)
def test_parts_have_the_published_number_of_parameters(
    name: str, outputs: int, channels: int, size: int, part: str, published: int
) -> None:
    model = shape_only(name, num_classes=outputs, in_chans=channels, img_size=size)

    assert parameters(model.get_submodule(part)) == published


def test_stacked_cnns_convolutions_have_the_published_number_of_parameters() -> None:
    model = shape_only("stacked_cnn", num_classes=4, in_chans=3, img_size=224)

    assert sum(parameters(module) for module in model.modules() if isinstance(module, nn.Conv2d)) == 4_685_376


@pytest.mark.parametrize(
    ("name", "outputs", "size", "printed"),
    [
        ("resnet50", 0, 224, 23_587_712),
        ("resnet50_flatten", 1, 256, 23_718_785),
        ("resnet50_four_layer", 4, 224, 23_587_712 + 5_311_620),
        ("stacked_cnn", 4, 224, 31_429_712),
    ],
)
def test_counted_as_keras_counts_they_have_the_printed_totals(
    name: str, outputs: int, size: int, printed: int
) -> None:
    assert keras_count(shape_only(name, num_classes=outputs, in_chans=3, img_size=size)) == printed


def test_no_house_name_takes_the_place_of_one_of_timms() -> None:
    assert hasattr(timm.models, "resnet50_mlp")
    assert not [name for name in HOUSE if hasattr(timm.models, name)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_a_batch_becomes_one_logit_per_class(name: str, channels: int) -> None:
    model = build(name, num_classes=4, in_chans=channels, img_size=80).eval()

    with torch.inference_mode():
        assert model(torch.zeros(2, channels, 80, 80)).shape == (2, 4)


@pytest.mark.parametrize("name", HOUSE)
def test_timm_creates_the_house_architectures(name: str) -> None:
    model = timm.create_model(name, num_classes=2, in_chans=1, img_size=96).eval()

    assert model(torch.zeros(1, 1, 96, 96)).shape == (1, 2)


def test_the_width_of_stacked_cnn_can_be_searched() -> None:
    model = build("stacked_cnn", num_classes=2, img_size=80, options={"width": 8})

    assert model.get_submodule("features.18").out_channels == 64


def test_a_head_only_phase_of_densenet121_trains_the_published_number() -> None:
    model = shape_only("densenet121", num_classes=1, in_chans=3, img_size=224)
    head = tuple(head_of(model))

    assert sum(p.numel() for name, p in model.named_parameters() if name.startswith(head)) == 1_025


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
    ("name", "layer", "mode", "source", "gap_linear"),
    [
        ("simple_cnn", "features.7", "half", "lungline", False),
        ("stacked_cnn", "features.19", "per_image_minmax", "lungline", False),
        ("ae_cnn", "backbone.features.norm5", "unit", "lungline", True),
        ("resnet50_flatten", "layer4", "imagenet_gray", "lungline", False),
        ("resnet50_two_layer", "layer4", "imagenet_gray", "lungline", False),
        ("resnet50_four_layer", "layer4", "imagenet_gray", "lungline", False),
        ("resnet50_conv_head", "layer4", "imagenet_gray", "lungline", False),
        ("resnet18", "layer4", "imagenet_gray", "timm", True),
        ("resnet50", "layer4", "imagenet_gray", "timm", True),
        ("densenet121", "features.norm5", "imagenet_gray", "timm", True),
        ("convnext_atto", "stages.3", "imagenet_gray", "timm", False),
    ],
)
def test_layer_and_preprocessing_are_known(
    name: str, layer: str, mode: str, source: str, gap_linear: bool
) -> None:
    info = describe(name)

    assert (info.name, info.cam_layer, info.preprocessing_mode, info.source) == (name, layer, mode, source)
    assert info.gap_linear is gap_linear
    model = shape_only(name, num_classes=2, img_size=96)
    assert isinstance(model.get_submodule(info.cam_layer), nn.Module)


def test_options_decide_the_grad_cam_layer() -> None:
    info = describe("ae_cnn", options={"backbone": "resnet18"})

    assert (info.cam_layer, info.gap_linear) == ("backbone.layer4", True)


def test_an_earlier_layer_is_not_what_the_classifier_averages() -> None:
    assert not describe("resnet18", "layer3").gap_linear


def test_stacked_cnns_grad_cam_map_has_the_published_size() -> None:
    model = shape_only("stacked_cnn", num_classes=4, in_chans=3, img_size=224).eval()
    shapes: list[torch.Size] = []
    model.get_submodule("features.19").register_forward_hook(lambda *call: shapes.append(call[2].shape))

    model(torch.empty(1, 3, 224, 224, device="meta"))

    assert shapes == [(1, 512, 20, 20)]


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


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("resnet18", 32, {"dropp": 1}),
        ("simple_cnn", 4, {}),
        ("stacked_cnn", 75, {}),
        ("resnet50_conv_head", 32, {}),
        ("ae_cnn", 30, {}),
        ("ae_cnn", 64, {"backbone_chans": 2}),
    ],
)
def test_a_network_that_cannot_be_built_is_a_usage_problem(
    name: str, size: int, options: dict[str, object]
) -> None:
    with pytest.raises(UsageProblem, match=name):
        build(name, num_classes=2, img_size=size, options=options)
