"""Initial weights: files of both kinds and namings, what is refused, and the download that must not fail in silence."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import timm
import torch
import torchvision
from huggingface_hub import constants
from safetensors.torch import save, save_file
from torch import nn

from data_contracts.errors import ExternalServiceError, LunglineError, ModelGateError, UsageProblem
from models.architectures import build, initial_weights_of
from models.architectures.initial_weights import load_initial_weights

TINY = "test_resnet"  # timm's own for tests: 0.5 M parameters


def published(**changes: int) -> nn.Module:
    """A network as timm publishes it: three channels, a thousand classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model: nn.Module = timm.create_model(TINY, **{"num_classes": 1000, **changes}).eval()
    return model


def built(init: str, name: str = TINY, channels: int = 1, **options: object) -> nn.Module:
    return build(name, num_classes=4, in_chans=channels, img_size=64, options=options, init=init).eval()


def as_safetensors(state: dict[str, torch.Tensor], folder: Path) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def as_state_dict(state: dict[str, torch.Tensor], folder: Path) -> Path:
    torch.save(state, folder / "weights.pth")
    return folder / "weights.pth"


def as_checkpoint_of_several_gpus(state: dict[str, torch.Tensor], folder: Path) -> Path:
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 3, "state_dict": wrapped}, folder / "weights.tar")
    return folder / "weights.tar"


@pytest.mark.parametrize("write", [as_safetensors, as_state_dict, as_checkpoint_of_several_gpus])
def test_everything_but_a_head_of_another_size_is_loaded(
    write: Callable[[dict[str, torch.Tensor], Path], Path], tmp_path: Path
) -> None:
    source = published()
    path = write(source.state_dict(), tmp_path)

    model = built(f"file:{path}", channels=3)

    result = initial_weights_of(model)
    assert result.dropped == result.fresh == ["fc.bias", "fc.weight"]
    assert (result.kind, result.origin, result.adapted) == ("file", path.name, [])
    assert result.loaded == len(source.state_dict()) - 2
    assert result.sha256 is not None
    for name, tensor in source.state_dict().items():
        if name not in result.dropped:
            assert torch.equal(model.state_dict()[name], tensor)


def test_a_grey_network_answers_as_the_colour_one_to_the_image_in_all_channels(tmp_path: Path) -> None:
    source = published()
    model = built(f"file:{as_safetensors(source.state_dict(), tmp_path)}")
    images = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)).sub(0.449).div(0.226)

    with torch.inference_mode():
        grey = model.forward_features(images)
        colour = source.forward_features(images.repeat(1, 3, 1, 1))

    torch.testing.assert_close(grey, colour, rtol=1e-4, atol=1e-5)
    assert initial_weights_of(model).adapted == ["conv1.0.weight"]


def test_a_head_of_the_same_size_is_loaded_too(tmp_path: Path) -> None:
    source = published(num_classes=4, in_chans=1)

    model = built(f"file:{as_safetensors(source.state_dict(), tmp_path)}")

    result = initial_weights_of(model)
    assert (result.dropped, result.fresh) == ([], [])
    images = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model(images), source(images))


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("resnet50", torchvision.models.resnet50),
        ("resnet50_four_layer", torchvision.models.resnet50),
        ("densenet121", torchvision.models.densenet121),
    ],
)
def test_torchvisions_names_fit(name: str, make: Callable[..., nn.Module], tmp_path: Path) -> None:
    source = make(weights=None).eval()
    path = as_state_dict(source.state_dict(), tmp_path)

    model = built(f"file:{path}", name, channels=3)

    result = initial_weights_of(model)
    assert {key.partition(".")[0] for key in result.dropped} == {key.partition(".")[0] for key in result.fresh}
    assert result.loaded == len(source.state_dict()) - 2
    for key, tensor in source.state_dict().items():
        if key not in result.dropped:
            assert torch.equal(model.state_dict()[key], tensor)


def test_the_names_of_old_densenet_files_fit(tmp_path: Path) -> None:
    source = torchvision.models.densenet121(weights=None).state_dict()
    old = {
        key.replace("norm1", "norm.1")
        .replace("norm2", "norm.2")
        .replace("conv1", "conv.1")
        .replace("conv2", "conv.2"): t
        for key, t in source.items()
        if not key.endswith("num_batches_tracked")
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old

    model = built(f"file:{as_state_dict(old, tmp_path)}", "densenet121", channels=3)

    weights = model.state_dict()["features.denseblock4.denselayer16.conv2.weight"]
    assert torch.equal(weights, source["features.denseblock4.denselayer16.conv2.weight"])


def test_ae_cnn_takes_the_weights_of_its_backbone(tmp_path: Path) -> None:
    source = published()
    path = as_safetensors(source.state_dict(), tmp_path)

    model = built(f"file:{path}", "ae_cnn", backbone=TINY)

    result = initial_weights_of(model)
    assert torch.equal(model.state_dict()["backbone.conv1.0.weight"], source.state_dict()["conv1.0.weight"])
    assert result.dropped == ["fc.bias", "fc.weight"]
    assert {name.partition(".")[0] for name in result.fresh} == {"encoder", "decoder", "backbone"}
    assert [name for name in result.fresh if name.startswith("backbone")] == [
        "backbone.fc.bias",
        "backbone.fc.weight",
    ]


def test_ae_cnn_takes_the_weights_of_the_whole(tmp_path: Path) -> None:
    first = built("random", "ae_cnn", backbone=TINY)

    again = built(f"file:{as_safetensors(first.state_dict(), tmp_path)}", "ae_cnn", backbone=TINY)

    assert initial_weights_of(again).fresh == []
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in first.state_dict().items())


@pytest.mark.parametrize("change", ["missing", "unexpected", "of another shape"])
def test_weights_that_do_not_fit_are_listed_and_nothing_is_loaded(change: str, tmp_path: Path) -> None:
    state = published().state_dict()
    if change == "missing":
        del state["layer1.0.conv1.weight"]
    elif change == "unexpected":
        state["layer1.0.conv9.weight"] = torch.zeros(1)
    else:
        state["layer1.0.conv1.weight"] = torch.zeros(1, 2, 3, 3)
    path = as_safetensors(state, tmp_path)
    model = built("random")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    with pytest.raises(ModelGateError, match=rf"1 {change} \(layer1\.0\.conv"):
        load_initial_weights(model, TINY, f"file:{path}")

    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("payload-ran"),))  # type: ignore[return-value]


def test_code_in_a_pickle_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"fc.weight": Payload()}, "zip.pth")
    Path("plain.pkl").write_bytes(pickle.dumps(Payload(), protocol=2))

    for name in ("zip.pth", "plain.pkl"):
        with pytest.raises(ModelGateError, match="pickle of more than tensors"):
            built(f"file:{name}")

    assert not Path("payload-ran").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not weights",
        b"PK\x03\x04 cut off",
        b"\x08\0\0\0\0\0\0\0{damaged",
        save({"fc.weight": torch.tensor([float("nan")])}),
    ],
)
def test_a_damaged_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)

    with pytest.raises(ModelGateError, match="are refused"):
        built(f"file:{tmp_path / 'file'}")


@pytest.mark.parametrize("content", [torch.zeros(3), {"epoch": 3}, {}, [1, 2], {"fc.weight": "text"}])
def test_a_file_without_named_tensors_is_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.pth")

    with pytest.raises(ModelGateError, match=r"it holds|its entry"):
        built(f"file:{tmp_path / 'file.pth'}")


@pytest.mark.parametrize("init", ["pretrained", "file:", "file:/no/such/file", "Imagenet", ""])
def test_an_unknown_start_is_a_usage_problem(init: str) -> None:
    with pytest.raises(UsageProblem):
        built(init)


@pytest.mark.parametrize("name", ["simple_cnn", "stacked_cnn"])
def test_imagenet_weights_that_do_not_exist_are_a_usage_problem(name: str) -> None:
    with pytest.raises(UsageProblem, match="no ImageNet weights"):
        build(name, num_classes=2, img_size=96, init="imagenet")


def test_random_is_recorded_as_random() -> None:
    assert initial_weights_of(built("random")).model_dump(exclude_defaults=True) == {"kind": "random"}


class Hub(BaseHTTPRequestHandler):
    """The little of Hugging Face's protocol that one file needs."""

    content = b""

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.send_header("ETag", '"0123456789abcdef"')
        self.send_header("X-Repo-Commit", "0" * 40)
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        self.wfile.write(self.content)

    def log_message(self, *_: object) -> None:
        pass


def point_hub_to(port: int, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"http://127.0.0.1:{port}"
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)  # whatever the machine's environment says


def test_imagenet_weights_are_downloaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = published()
    Hub.content = save(source.state_dict())
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        point_hub_to(server.server_port, tmp_path, monkeypatch)
        Thread(target=server.serve_forever, daemon=True).start()
        first = built("imagenet", channels=3)
        server.shutdown()
    offline = built("imagenet", channels=3)

    result = initial_weights_of(first)
    assert (result.kind, result.origin) == ("imagenet", "timm/test_resnet.r160_in1k")
    assert initial_weights_of(offline) == result
    assert torch.equal(first.state_dict()["conv1.0.weight"], source.state_dict()["conv1.0.weight"])


def test_the_imagenet_head_is_dropped_although_it_would_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hub.content = save(published(num_classes=4).state_dict())
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        point_hub_to(server.server_port, tmp_path, monkeypatch)
        Thread(target=server.serve_forever, daemon=True).start()
        model = built("imagenet")
        server.shutdown()

    assert initial_weights_of(model).dropped == ["fc.bias", "fc.weight"]


@pytest.mark.parametrize("offline", [False, True])
def test_without_the_internet_the_error_says_how_to_get_the_file(
    offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_hub_to(9, tmp_path, monkeypatch)  # the discard port, where nobody listens
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)

    with pytest.raises(ExternalServiceError) as caught:
        built("imagenet", "resnet50_four_layer")

    error: LunglineError = caught.value
    assert "timm/resnet50.a1_in1k" in error.what
    assert "https://huggingface.co/timm/resnet50.a1_in1k/resolve/main/model.safetensors" in error.cure
    assert "init: file:PATH" in error.cure


@pytest.mark.parametrize(("said", "offline"), [(None, "False"), ("1", "True")])
def test_the_network_is_there_for_who_asks_for_weights_unless_somebody_forbids_it(
    said: str | None, offline: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    program = "import pipelines, models; from huggingface_hub import constants; print(constants.HF_HUB_OFFLINE)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment | ({"HF_HUB_OFFLINE": said} if said else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == offline
