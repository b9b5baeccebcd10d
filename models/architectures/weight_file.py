"""Reads a file of weights, safetensors or torch's own format, without ever running code that is in it."""

from __future__ import annotations

import hashlib
import io
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors

from data_contracts.errors import ModelGateError, UsageProblem

# Where training scripts put the weights inside a checkpoint.
_NESTED_UNDER = ("state_dict", "model")
# What wrappers of torch put before every name.
_WRAPPERS = ("module.", "_orig_mod.")


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    """(parameter name -> tensor on the CPU, sha256 of the file).

    The bytes that are hashed are the bytes that are read. A checkpoint that holds the weights under `state_dict`
    or `model` is opened, and names lose the `module.` of torch's parallel wrappers. Raises UsageProblem where
    there is no such file, ModelGateError for a pickle with code, anything but tensors, or numbers that are not
    finite.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageProblem(
            f"The initial weights {path} cannot be read: {error.strerror}.",
            why="Training would start from random weights and answer another question.",
            cure="Correct the path after `init: file:`.",
        ) from error
    content: object = _parse(path, data)
    for key in _NESTED_UNDER:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content:
        raise _refused(path, f"it holds {type(content).__name__}, not named tensors")
    state: dict[str, torch.Tensor] = {}
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise _refused(path, f"its entry {str(name)!r} is {type(tensor).__name__}, not a tensor")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise _refused(path, f"its tensor {name!r} has numbers that are not finite")
        state[name] = tensor
    for wrapper in _WRAPPERS:
        if all(name.startswith(wrapper) for name in state):
            state = {name.removeprefix(wrapper): tensor for name, tensor in state.items()}
    return state, hashlib.sha256(data).hexdigest()


def _parse(path: Path, data: bytes) -> object:
    try:
        # A safetensors file is 8 bytes of header length, then a JSON header.
        if data[8:9] == b"{":
            return load_safetensors(data)
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused(path, "it is a pickle of more than tensors") from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _refused(path, f"it is damaged or of another format ({type(error).__name__})") from error


def _refused(path: Path, reason: str) -> ModelGateError:
    return ModelGateError(
        f"The initial weights {path} are refused: {reason}.",
        why="Only a file of named, finite tensors can be loaded without running code that may be in it.",
        cure="Save the weights alone, as safetensors or with torch.save(model.state_dict(), PATH).",
    )
