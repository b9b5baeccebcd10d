"""Trunk and head: an exact division of every family, and networks that have none."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from data_contracts.errors import UsageProblem
from models.architectures import build, describe
from models.architectures.trunk import head_of, is_gap_linear, trunk_and_head


@pytest.mark.parametrize(
    ("name", "prefix", "features"),
    [
        ("simple_cnn", "classifier.4.", (256,)),
        ("stacked_cnn", "classifier.7.", (1024,)),
        ("ae_cnn", "backbone.classifier.", (1024,)),
        ("resnet50_flatten", "fc.", (2048, 3, 3)),
        ("resnet50_two_layer", "fc.", (2048,)),
        ("resnet50_four_layer", "fc.", (2048,)),
        ("resnet50_conv_head", "fc.", (2048, 3, 3)),
        ("resnet18", "fc.", (512,)),
        ("densenet121", "classifier.", (1024,)),
        ("convnext_atto", "head.fc.", (320,)),
        ("efficientnet_b0", "classifier.", (1280,)),
        ("vit_tiny_patch16_224", "head.", (192,)),
    ],
)
def test_the_head_on_the_trunk_is_the_model(name: str, prefix: str, features: tuple[int, ...]) -> None:
    model = build(name, num_classes=3, img_size=96).eval()
    images = torch.rand(2, 1, 96, 96, generator=torch.Generator().manual_seed(0))

    trunk, head = trunk_and_head(model)
    with torch.inference_mode():
        between = trunk.eval()(images)
        assert torch.equal(head.eval()(between), model(images))

    assert head_of(model) == [prefix]
    assert between.shape == (2, *features)
    of_head = {id(parameter) for key, parameter in model.named_parameters() if key.startswith(prefix)}
    assert {id(parameter) for parameter in head.parameters()} == of_head
    assert {id(parameter) for parameter in trunk.parameters()} == set(map(id, model.parameters())) - of_head


@pytest.mark.parametrize(
    "name", ["resnet18", "densenet121", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"]
)
def test_the_head_keeps_the_dropout_before_it(name: str) -> None:
    with torch.device("meta"):
        model = build(name, num_classes=3, img_size=224, options={"drop_rate": 0.25})

    _, head = trunk_and_head(model)

    assert [module.p for module in head.modules() if isinstance(module, nn.Dropout)] == [0.25]


def test_dividing_a_model_leaves_it_as_it_was() -> None:
    model = build("convnext_atto", num_classes=3, img_size=64).eval()
    names = [name for name, _ in model.named_modules()]

    trunk_and_head(model)

    assert [name for name, _ in model.named_modules()] == names
    assert model(torch.zeros(1, 1, 64, 64)).shape == (1, 3)


def test_a_step_on_the_head_changes_the_model() -> None:
    model = build("resnet18", num_classes=3, img_size=32).eval()
    _, head = trunk_and_head(model)

    with torch.no_grad():
        for parameter in head.parameters():
            parameter.zero_()

    assert not model(torch.ones(1, 1, 32, 32)).any()


@pytest.mark.parametrize("name", ["deit_tiny_distilled_patch16_224", "resnetv2_50"])
def test_a_network_without_one_linear_head_is_refused(name: str) -> None:
    with torch.device("meta"):
        model = build(name, num_classes=3, img_size=224)

    with pytest.raises(UsageProblem, match="no single classifier head"):
        head_of(model)


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
def test_where_the_head_is_linear_on_averages_the_grad_cam_weights_are_its_weights(name: str) -> None:
    layer = describe(name).cam_layer
    model = build(name, num_classes=3, img_size=64).eval()
    images = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    maps: list[torch.Tensor] = []
    model.get_submodule(layer).register_forward_hook(lambda *call: maps.append(call[2]))

    logits = model(images)
    gradient = torch.autograd.grad(logits[0, 2], maps[0])[0]

    cells = gradient.shape[2] * gradient.shape[3]
    head = model.get_submodule(head_of(model)[0][:-1])
    torch.testing.assert_close(gradient.mean((2, 3))[0], head.weight[2] / cells)
    assert is_gap_linear(model, layer, images)


def test_a_maximum_instead_of_an_average_is_told_apart() -> None:
    model = build("resnet18", num_classes=3, img_size=64, options={"global_pool": "max"})

    assert not is_gap_linear(model, "layer4", torch.zeros(1, 1, 64, 64))
