"""Grad-CAM against its closed form, and what it leaves behind in the model."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import timm
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import interpolate

from data_contracts.errors import ModelGateError, UsageProblem
from models.architectures import build
from models.explanation.grad_cam import BATCH, Explainer, Method, grad_cam, method_for
from models.preprocessing import Preprocessing


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Nets this small only lose by waiting for threads on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class _PooledNet(nn.Module):
    """Convolution, then an in-place ReLU on its very output, global average pooling and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.last = nn.Conv2d(8, 6, 3, stride=2, padding=1)
        self.activation = nn.ReLU(inplace=True)
        self.norm = nn.BatchNorm1d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        features = self.activation(self.last(torch.relu(self.stem(x))))
        return self.head(self.norm(features.mean(dim=(2, 3))))


def _seeded(build: object) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build()


def _inputs(n: int, size: int = 32) -> Tensor:
    return torch.rand(n, 1, size, size, generator=torch.Generator().manual_seed(0))


def _closed_form(model: nn.Module, layer: str, inputs: Tensor, weight: Tensor, size: int) -> NDArray[np.float32]:
    """CAM of a pooled linear head: relu(sum_k w_k A_k) / (h w), enlarged. weight (B, C) of each input's class."""
    kept = []
    with (
        model.get_submodule(layer).register_forward_hook(lambda *call: kept.append(call[2].clone())),
        torch.no_grad(),
    ):
        model.eval()(inputs)
    activations = kept[0]
    cam = torch.relu((weight[:, :, None, None] * activations).sum(dim=1, keepdim=True))
    cam = cam / activations[0, 0].numel()
    return interpolate(cam, size=(size, size), mode="bilinear")[:, 0].numpy()


@pytest.mark.parametrize(
    ("name", "layer", "head", "memory_format", "frozen"),
    [
        ("resnet18", "layer4", "fc", torch.contiguous_format, False),
        ("resnet18", "layer4", "fc", torch.channels_last, True),
        ("densenet121", "features.norm5", "classifier", torch.channels_last, False),
    ],
)
def test_grad_cam_equals_the_closed_form_of_pooled_linear_heads(
    name: str, layer: str, head: str, memory_format: torch.memory_format, frozen: bool
) -> None:
    model = _seeded(lambda: timm.create_model(name, num_classes=3, in_chans=1))
    model = model.to(memory_format=memory_format).requires_grad_(not frozen)
    inputs, classes = _inputs(3, size=64), np.array([0, 1, 2])
    found = grad_cam(model, layer, inputs, classes)
    expected = _closed_form(model, layer, inputs, model.get_submodule(head).weight.detach()[classes], 64)
    assert found.dtype == np.float32
    assert expected.max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * expected.max())


def test_an_in_place_relu_after_the_layer_does_not_reach_the_activations() -> None:
    # torchvision's DenseNet overwrites the output of features.norm5, negative values included.
    model = _seeded(lambda: torchvision.models.densenet121(num_classes=3)).eval()
    inputs = _inputs(2, size=64).repeat(1, 3, 1, 1)
    with torch.no_grad():
        before_relu = model.features(inputs)
    assert before_relu.min() < 0
    # Through the ReLU the gradient is w_k / (h w) where the map is positive.
    weight = model.classifier.weight.detach()[[1, 2]] * (before_relu > 0).float().mean(dim=(2, 3))
    expected = _closed_form(model, "features", inputs, weight, 64)
    found = grad_cam(model, "features.norm5", inputs, np.array([1, 2]))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * expected.max())


@pytest.mark.parametrize(
    ("name", "options", "layer", "classes"),
    [
        ("resnet18", {}, "layer4", 3),
        ("densenet121", {}, "features.norm5", 3),
        ("ae_cnn", {"backbone": "resnet18"}, "backbone.layer4", 3),
        ("resnet18", {}, "layer4", 1),
    ],
)
def test_the_closed_form_equals_captum(name: str, options: dict[str, object], layer: str, classes: int) -> None:
    model = _seeded(lambda: build(name, num_classes=classes, in_chans=1, img_size=64, options=options))
    inputs, of_class = _inputs(4, size=64), np.array([0, 1, 0, 1]) if classes == 1 else np.array([0, 1, 2, 0])
    assert method_for(model, layer, inputs[:1]) == "closed form"
    found, expected = (
        grad_cam(model, layer, inputs, of_class, method=method) for method in ("closed form", "captum")
    )
    assert expected.max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * expected.max())


def test_the_gradient_of_a_pooled_linear_head_is_its_weights_over_the_number_of_cells() -> None:
    # The published identity: alpha_k = W_ck / (h w) at every cell (Selvaraju et al. 2017, section 3.1).
    model = _seeded(lambda: timm.create_model("resnet18", num_classes=3, in_chans=1)).eval()
    features = model.forward_features(_inputs(1, size=96)).detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(model.forward_head(features)[0, 2], features)
    expected = (model.fc.weight.detach()[2] / 9)[None, :, None, None].expand_as(gradient)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "layer", "method"),
    [
        ("simple_cnn", "features.7", "captum"),
        ("resnet50_two_layer", "layer4", "captum"),
        ("convnext_atto", "stages.3", "captum"),
        ("resnet18", "layer3", "captum"),
        ("resnet18", "layer4", "closed form"),
        # The output of this module is overwritten by the in-place ReLU after it.
        ("densenet121", "features.norm5.drop", "captum"),
    ],
)
def test_the_closed_form_is_used_only_where_it_holds(name: str, layer: str, method: Method) -> None:
    model = _seeded(lambda: build(name, num_classes=2, in_chans=1, img_size=64))
    assert method_for(model, layer, _inputs(1, size=64)) == method
    assert model.training


def test_maps_in_bf16_agree_with_exact_ones() -> None:
    model = _seeded(lambda: timm.create_model("resnet18", num_classes=3, in_chans=1))
    inputs, classes = _inputs(4, size=96), np.array([0, 1, 2, 0])
    exact, rounded = (grad_cam(model, "layer4", inputs, classes, bf16=bf16) for bf16 in (False, True))
    drawn = exact.reshape(4, -1).max(axis=1) > 0
    assert drawn.sum() >= 2
    for one, other in zip(exact[drawn], rounded[drawn], strict=True):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99


def test_an_explainer_gives_maps_in_the_order_of_its_rows() -> None:
    model = _seeded(lambda: timm.create_model("resnet18", num_classes=3, in_chans=1))
    images = np.random.default_rng(0).integers(256, size=(BATCH + 3, 64, 64), dtype=np.uint8)
    preprocessing = Preprocessing(size=64, mode="half")
    explainer = Explainer.of(model, "layer4", images, preprocessing)
    assert (explainer.method, explainer.cells()) == ("closed form", (2, 2))
    rows, classes = np.arange(BATCH + 3)[::-1].copy(), np.arange(BATCH + 3) % 3
    expected = grad_cam(model, "layer4", preprocessing.apply(images[rows]), classes)
    np.testing.assert_allclose(np.stack([*explainer.maps(rows, classes)]), expected, rtol=1e-4, atol=1e-6)
    assert list(explainer.maps(rows[:0], classes[:0])) == []


def test_activations_that_are_not_finite_are_refused_rather_than_drawn() -> None:
    model = _seeded(_PooledNet)
    nn.init.constant_(model.stem.bias, float("nan"))
    with pytest.raises(ModelGateError, match="not finite"):
        grad_cam(model, "activation", _inputs(2), np.array([0, 1]))


@pytest.mark.parametrize("layer", ["last", "activation"])
def test_both_sides_of_an_in_place_relu_can_be_explained(layer: str) -> None:
    maps = grad_cam(_seeded(_PooledNet), layer, _inputs(4), np.array([0, 1, 2, 0]))
    assert maps.shape == (4, 32, 32)
    assert maps.min() == 0
    assert maps.max() > 0


def test_maps_do_not_depend_on_the_batch_size() -> None:
    model, inputs, classes = _seeded(_PooledNet), _inputs(5), np.array([0, 1, 2, 0, 1])
    together = grad_cam(model, "activation", inputs, classes)
    in_pairs = grad_cam(model, "activation", inputs, classes, batch_size=2)
    np.testing.assert_allclose(in_pairs, together, rtol=1e-5, atol=1e-7 * together.max())


def test_a_map_without_a_positive_region_stays_zero() -> None:
    model = _seeded(_PooledNet)
    nn.init.constant_(model.head.weight, -1.0)
    assert not grad_cam(model, "activation", _inputs(2), np.array([0, 1])).any()


def test_one_logit_speaks_for_the_second_class_and_against_the_first() -> None:
    model = _seeded(lambda: timm.create_model("resnet18", num_classes=1, in_chans=1))
    inputs = _inputs(4, size=64)
    weight = model.fc.weight.detach()
    signs = torch.tensor([[1.0], [-1.0], [-1.0], [1.0]])
    found = grad_cam(model, "layer4", inputs, np.array([1, 0, 0, 1]))
    expected = _closed_form(model, "layer4", inputs, signs * weight, 64)
    assert expected[0].max() > 0
    assert expected[1].max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 * expected.max())


def test_nothing_is_left_behind_in_the_model() -> None:
    model = _seeded(_PooledNet).train()
    model.norm.eval()
    model.stem.requires_grad_(False)
    hooks = sum(len(module._forward_hooks) for module in model.modules())
    grad_cam(model, "activation", _inputs(3), np.array([0, 1, 2]))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert [p.requires_grad for p in model.parameters()] == [False] * 2 + [True] * 6
    assert model.training
    assert not model.norm.training
    assert sum(len(module._forward_hooks) for module in model.modules()) == hooks == 0


def test_an_error_inside_the_network_still_hands_the_model_back() -> None:
    model = _seeded(_PooledNet).train()
    with pytest.raises(RuntimeError):
        grad_cam(model, "activation", torch.rand(2, 5, 32, 32), np.array([0, 1]))
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_grad_cam_works_inside_inference_mode() -> None:
    model, inputs = _seeded(_PooledNet), _inputs(2)
    expected = grad_cam(model, "activation", inputs, np.array([0, 1]))
    with torch.inference_mode():
        assert np.array_equal(grad_cam(model, "activation", inputs.clone(), np.array([0, 1])), expected)


@pytest.mark.parametrize(("layer", "words"), [("layer9", "no module 'layer9'"), ("norm", "no feature map")])
def test_a_layer_without_a_map_is_refused(layer: str, words: str) -> None:
    with pytest.raises(UsageProblem, match=words):
        grad_cam(_seeded(_PooledNet), layer, _inputs(2), np.array([0, 1]))
