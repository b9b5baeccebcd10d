"""Where a network's weights start: random, timm's ImageNet weights, or a file; never a silent mixture."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from timm.models import adapt_input_conv
from torch import nn

from data_contracts.errors import ExternalServiceError, ModelGateError, UsageProblem
from models.architectures.trunk import head_of
from models.architectures.weight_file import read_weights

CONNECT_TIMEOUT_SECONDS = 10
PUBLISHED_FILE = "model.safetensors"


class InitialWeights(BaseModel):
    """Where the weights of a network started, for its bundle.

    origin: the file's name or the repository it was downloaded from; None for random. sha256: of that file.
    loaded: how many tensors were taken from it. adapted: first convolutions fitted to another number of input
    channels. dropped: tensors of the file that were not used, always those of its classifier. fresh: tensors of
    the network that keep their own start.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["random", "imagenet", "file"]
    origin: str | None = None
    sha256: str | None = None
    loaded: int = 0
    adapted: list[str] = []
    dropped: list[str] = []
    fresh: list[str] = []


def load_initial_weights(model: nn.Module, name: str, init: str) -> InitialWeights:
    """Give the network called `name` the weights `init` names, and say what was taken from where.

    init: `random` leaves the model as it is; `imagenet` downloads timm's default ImageNet weights or takes them
    from Hugging Face's cache; `file:PATH` reads safetensors or a torch state dict with timm's or torchvision's
    names. Everything but the classifier must fit; a classifier is loaded from a file when all of it fits, else it
    keeps its random start. The model changes only when all checks have passed.
    Raises UsageProblem for another `init`, a missing file or an architecture without ImageNet weights,
    ExternalServiceError where the download fails, ModelGateError for weights that do not belong to the network.
    """
    if init == "random":
        return InitialWeights(kind="random")
    part: str = getattr(model, "pretrained_part", "")
    if init == "imagenet":
        target: Any = model.get_submodule(part)
        repository = _imagenet_repository(target, name)
        return _load(model, part, name, _download(repository, name), repository, "imagenet")
    kind, _, path = init.partition(":")
    if kind != "file" or not path:
        raise UsageProblem(
            f"Weights cannot start from {init!r}.",
            why="What a network starts from decides what it learns.",
            cure="Use `random`, `imagenet` or `file:` and the path of a safetensors file or torch state dict.",
        )
    return _load(model, part, name, Path(path), Path(path).name, "file")


def _load(
    model: nn.Module, part: str, name: str, path: Path, origin: str, kind: Literal["imagenet", "file"]
) -> InitialWeights:
    state, sha256 = read_weights(path)
    if part and any(key.startswith(f"{part}.") for key in state):
        part = ""  # a file of the whole network
    target = model.get_submodule(part)
    state = _timm_names(state, target)
    adapted = _fit_first_convolution(state, target)
    own = target.state_dict()
    prefixes = _head_prefixes(target)
    dropped = _drop_head(state, own, prefixes, always=kind == "imagenet")
    head = {key for key in own if key.startswith(prefixes)}
    kept_head = bool(head & state.keys())
    # Files of before 2018 do not count batches; the count has no effect on what a network answers.
    needed = {key for key in own if not key.endswith("num_batches_tracked")} - (set() if kept_head else head)
    _check_fit(state, own, needed, name, path)
    target.load_state_dict({**own, **state}, strict=True)
    prefix = f"{part}." if part else ""
    loaded = {prefix + key for key in state}
    return InitialWeights(
        kind=kind,
        origin=origin,
        sha256=sha256,
        loaded=len(loaded),
        adapted=[prefix + key for key in adapted],
        dropped=sorted(dropped),
        fresh=sorted(key for key, _ in model.named_parameters() if key not in loaded),
    )


def _head_prefixes(target: Any) -> tuple[str, ...]:
    """Prefixes of the classifier's names; a convolution as classifier is known to timm's metadata only."""
    try:
        return tuple(head_of(target))
    except UsageProblem:
        names = getattr(target, "pretrained_cfg", {}).get("classifier") or ()
        return tuple(f"{name}." for name in ([names] if isinstance(names, str) else names))


def _timm_names(state: dict[str, torch.Tensor], target: nn.Module) -> dict[str, torch.Tensor]:
    """The state with timm's names; torchvision's ResNets and DenseNets already have them."""
    # Files of torchvision before 0.3 call a dense layer's parts `norm.1` where today's say `norm1`.
    state = {
        re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", key): tensor
        for key, tensor in state.items()
    }
    # timm's own translation for this family, which also resizes the position embeddings of transformers.
    module = sys.modules[type(target).__module__]
    translate: Callable[..., dict[str, torch.Tensor]] | None = getattr(module, "checkpoint_filter_fn", None)
    return state if translate is None else dict(translate(state, target))


def _fit_first_convolution(state: dict[str, torch.Tensor], target: Any) -> list[str]:
    """Sum a colour stem over its channels for a grey network, or spread a grey one; the names that changed.

    A summed stem answers to a grey image as the colour one does to that image in all three channels, where one
    mean and one standard deviation normalise all of them.
    """
    names = getattr(target, "pretrained_cfg", {}).get("first_conv") or ()
    own, changed = target.state_dict(), []
    for name in [names] if isinstance(names, str) else names:
        key = f"{name}.weight"
        if key not in state or key not in own or state[key].ndim != 4 or own[key].ndim != 4:
            continue
        channels, wanted = state[key].shape[1], own[key].shape[1]
        if channels != wanted and {channels, wanted} == {1, 3}:
            state[key] = adapt_input_conv(wanted, state[key], base_chans=channels)
            changed.append(key)
    return changed


def _drop_head(
    state: dict[str, torch.Tensor], own: dict[str, torch.Tensor], prefixes: tuple[str, ...], *, always: bool
) -> list[str]:
    """Take the file's classifier out of `state` unless all of it fits; the names taken out."""
    offered = {key: state[key].shape for key in state if key.startswith(prefixes)}
    if not always and offered == {key: own[key].shape for key in own if key.startswith(prefixes)}:
        return []
    for key in offered:
        del state[key]
    return list(offered)


def _check_fit(
    state: dict[str, torch.Tensor], own: dict[str, torch.Tensor], needed: set[str], name: str, path: Path
) -> None:
    missing = sorted(needed - state.keys())
    unexpected = sorted(state.keys() - own.keys())
    misshapen = [
        f"{key} {tuple(state[key].shape)} for {tuple(own[key].shape)}"
        for key in sorted(state.keys() & own.keys())
        if state[key].shape != own[key].shape
    ]
    if missing or unexpected or misshapen:
        raise ModelGateError(
            f"The initial weights {path} do not belong to {name}: "
            f"{_listed('missing', missing)}; {_listed('unexpected', unexpected)}; "
            f"{_listed('of another shape', misshapen)}.",
            why="A network that is partly random would be taken for a pretrained one. Nothing was loaded.",
            cure="Use weights of this very architecture, with timm's or torchvision's parameter names.",
        )


def _listed(what: str, names: list[str]) -> str:
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"{len(names)} {what}" + (f" ({shown})" if names else "")


def _imagenet_repository(target: Any, name: str) -> str:
    repository: str = getattr(target, "pretrained_cfg", {}).get("hf_hub_id") or ""
    # timm names weights after their training data: in1k, in12k, in21k and in22k are parts of ImageNet.
    if not re.search(r"in(1|12|21|22)k", repository):
        raise UsageProblem(
            f"timm has no ImageNet weights for {name}.",
            why="`init: imagenet` would start from other weights than it says.",
            cure="Use `init: random`, or `init: file:PATH` with weights of this architecture.",
        )
    return repository


def _download(repository: str, name: str) -> Path:
    """The published file in Hugging Face's cache, downloaded where it is not there yet."""
    import requests
    from huggingface_hub import hf_hub_download, hf_hub_url, is_offline_mode
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, PUBLISHED_FILE, local_files_only=True))
    except LocalEntryNotFoundError:
        pass  # not downloaded yet
    try:
        if not is_offline_mode():
            # One question first: the library itself asks six times in 23 seconds where nobody answers.
            address = hf_hub_url(repository, PUBLISHED_FILE)
            requests.head(address, timeout=CONNECT_TIMEOUT_SECONDS).raise_for_status()
        # No access token goes along: these weights are public.
        return Path(hf_hub_download(repository, PUBLISHED_FILE, token=False))
    except (HfHubHTTPError, OSError) as error:
        raise ExternalServiceError(
            f"The ImageNet weights of {name} ({repository}) could not be downloaded: {type(error).__name__}.",
            why="Training from random weights instead would answer another question, so it is not done.",
            cure=f"Where there is internet, fetch https://huggingface.co/{repository}/resolve/main/"
            f"{PUBLISHED_FILE}, copy it here and set `init: file:PATH`; or set `init: random`.",
        ) from error
