"""The model bundle: everything needed to run a trained classifier, as verified files without any pickle.

weights.safetensors (every tensor of the state dict), bundle.json (BundleSpec), history.json (TrainingHistory)
and manifest.json (sha256 and size of the other three). Nothing is loaded before it was compared with the
manifest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from data_contracts.errors import EnvironmentProblem, ModelGateError
from data_contracts.ontology import TASKS
from models.evaluation.results import OperatingPoint, RuleIn
from models.output import Output, output_count
from models.preprocessing import Preprocessing
from models.registry.sealed_folder import MANIFEST, FolderTakenError, SealedFolder, canonical_json, write_sealed
from models.training.history import TrainingHistory

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT_VERSION: Literal[1] = 1
WEIGHTS = "weights.safetensors"
SPEC = "bundle.json"
HISTORY = "history.json"
BUNDLE_FILES = (WEIGHTS, SPEC, HISTORY, MANIFEST)


class BundleSpec(BaseModel):
    """What the weights are: the network to build, its input, its classes and where it came from.

    class_names: in task order. output: what the network's logits mean. options: keyword arguments of the
    architecture. image_size: pixels, height = width. test_time_crop: share of the side in ten crops that are answered
    together; None: the image is answered whole. temperature: what the logits are divided by before they become
    probabilities; temperature_note: why validation gave none, else "". operating_points, rule_in: class name ->
    threshold on these probabilities, for the classes that have one; between the two a person decides. seed: of the
    training. recipe: the recipe as JSON. initial_weights: where they came from, with their sha256. data_hash: content
    hash of the data it was trained on. versions: package -> version at training time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    format_version: Literal[1] = FORMAT_VERSION
    task: str
    class_names: list[str]
    output: Output = "softmax"
    architecture: str
    options: dict[str, JsonValue] = {}
    in_chans: PositiveInt = 1
    image_size: PositiveInt
    preprocessing: Preprocessing
    test_time_crop: float | None = Field(default=None, ge=0.5, lt=1)
    temperature: PositiveFloat = 1.0
    temperature_note: str = ""
    operating_points: dict[str, OperatingPoint]
    rule_in: dict[str, RuleIn] = {}
    seed: int
    recipe_name: str
    recipe: dict[str, JsonValue]
    initial_weights: dict[str, JsonValue] = {}
    data_hash: str
    versions: dict[str, str]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.class_names or len(set(self.class_names)) != len(self.class_names):
            raise ValueError(f"class names must be given and differ: {self.class_names}")
        if self.output == "binary" and len(self.class_names) != 2:
            raise ValueError(f"one logit tells two classes apart, not {self.class_names}")
        task = TASKS.get(self.task)
        if task is not None and task.multi_label != (self.output == "sigmoid"):
            raise ValueError(f"{self.output} outputs do not answer what task {self.task} asks of each class")
        unknown = sorted({*self.operating_points, *self.rule_in} - set(self.class_names))
        if unknown:
            raise ValueError(f"operating points for classes the model does not have: {unknown}")
        if self.preprocessing.size != self.image_size:
            raise ValueError(
                f"preprocessing makes {self.preprocessing.size} pixels, the network takes {self.image_size}"
            )
        return self


@dataclass(frozen=True, slots=True)
class ModelBundle:
    """A verified bundle on disk. content_hash: sha256 of the manifest, equal exactly for equal bundles."""

    spec: BundleSpec
    history: TrainingHistory
    sealed: SealedFolder

    @property
    def folder(self) -> Path:
        return self.sealed.folder

    @property
    def content_hash(self) -> str:
        return self.sealed.content_hash

    @classmethod
    def write(cls, folder: Path, model: nn.Module, spec: BundleSpec, history: TrainingHistory) -> Self:
        """Write a bundle; the folder appears only when it is complete, and equal inputs give equal bytes.

        A folder that already holds this very bundle is left as it is. Raises ModelGateError where it holds
        anything else, EnvironmentProblem where the disk refuses.
        """
        files = {
            WEIGHTS: _weights(model),
            SPEC: canonical_json(spec.model_dump(mode="json")),
            HISTORY: canonical_json(history.model_dump(mode="json")),
        }
        try:
            write_sealed(folder, files)
        except FolderTakenError:  # perhaps by this very bundle, from an earlier or a simultaneous run
            pass
        except OSError as error:
            raise EnvironmentProblem(
                f"The model bundle {folder} cannot be written: {error}; it needs "
                f"{sum(map(len, files.values()))} bytes.",
                why="The trained model would be lost; nothing half-written was left behind.",
                cure="Make room or give the folder the right permissions, then run the command again.",
            ) from error
        bundle = cls.open(folder)
        if any(bundle.sealed.read(name) != data for name, data in files.items()):
            raise ModelGateError(
                f"{folder} already holds another model bundle ({bundle.content_hash[:12]}).",
                why="Overwriting it would change a model that may have been evaluated or approved.",
                cure="Write to a new folder, or remove the old one first.",
            )
        return bundle

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a bundle after comparing every file with the manifest.

        Raises ModelGateError for changed, missing, added or linked files, weights that are not safetensors,
        and format versions this program does not know.
        """
        sealed = SealedFolder.open(folder, [WEIGHTS, SPEC, HISTORY])
        _refuse_foreign_weights(sealed)
        sealed.verify(WEIGHTS)
        spec = _parse_spec(folder, sealed.read(SPEC))
        try:
            history = TrainingHistory.model_validate_json(sealed.read(HISTORY))
        except ValidationError as error:
            raise _unreadable(folder / HISTORY, error) from error
        return cls(spec, history, sealed)

    def require_hash(self, registered: str, version: str) -> Self:
        """This bundle, unless it is another one than `version` was registered with; then ModelGateError is raised."""
        if self.content_hash != registered:
            raise ModelGateError(
                f"{version} was registered with bundle {registered}; the files are bundle {self.content_hash}.",
                why="They are not the model that was evaluated under this version.",
                cure="Find out who changed the registry or its artifact store, then train and register again.",
            )
        return self

    def load_model(self) -> nn.Module:
        """Build the network and load every weight strictly; on the CPU, in eval mode.

        The very bytes that are loaded are compared with the manifest, so a change since `open` is seen. Raises
        ModelGateError where the weights and the architecture do not belong together.
        """
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load

        from models import architectures

        spec = self.spec
        logits = output_count(spec.output, len(spec.class_names))
        # Building draws random weights, which must not move the caller's draws.
        with torch.random.fork_rng(devices=[]):
            model = architectures.build(
                spec.architecture,
                num_classes=logits,
                in_chans=spec.in_chans,
                img_size=spec.image_size,
                options=dict(spec.options),
            )
        try:
            model.load_state_dict(load(self.sealed.read(WEIGHTS)), strict=True)
        except (SafetensorError, RuntimeError) as error:  # missing, unexpected and misshapen tensors
            raise ModelGateError(
                f"The weights in {self.folder} do not fit a {spec.architecture} with {logits} {spec.output} "
                f"outputs for {len(spec.class_names)} classes at {spec.image_size} pixels: {error}",
                why="A network with missing or foreign weights answers, but its answers mean nothing.",
                cure="Use the program version that wrote the bundle, or train again.",
            ) from error
        return model.eval()

    def count_parameters(self) -> int:
        """How many weights training could change; loads the model to count them."""
        return sum(parameter.numel() for parameter in self.load_model().parameters())


def _weights(model: nn.Module) -> bytes:
    from safetensors.torch import save

    # A copy of each tensor under its own name: tied weights are stored twice and loading has no special case.
    state: dict[str, Tensor] = model.state_dict()
    return save({name: state[name].detach().cpu().contiguous().clone() for name in sorted(state)})


def _refuse_foreign_weights(sealed: SealedFolder) -> None:
    path = sealed.folder / WEIGHTS
    with path.open("rb") as file:
        head = file.read(9)
    header_bytes = int.from_bytes(head[:8], "little")
    # A safetensors file is 8 bytes of header length, a JSON header, the tensors. The length may begin with the
    # byte a pickle begins with, so the pickle is looked for only where this form is not found.
    if head[8:] == b"{" and 8 + header_bytes <= path.stat().st_size:
        return
    if head.startswith(b"PK"):
        looks_like = "a zip archive, as torch.save writes it around a pickle"
    elif head.startswith(b"\x80"):
        looks_like = "a Python pickle"
    else:
        looks_like = "not a safetensors file"
    raise ModelGateError(
        f"{path} is {looks_like}: expected sha256 {sealed.entries[WEIGHTS].sha256}, "
        f"found {sealed.found_sha256(WEIGHTS)}.",
        why="Loading a pickle runs whatever code is in it; a bundle holds numbers only. Nothing was loaded.",
        cure="Find out who put the file there. Take the bundle again from the registry, or train it again.",
    )


def _parse_spec(folder: Path, data: bytes) -> BundleSpec:
    try:
        content = json.loads(data)
        version = content.get("format_version") if isinstance(content, dict) else None
        if version != FORMAT_VERSION:
            raise ModelGateError(
                f"{folder / SPEC} has format version {version!r}; this program reads {FORMAT_VERSION}.",
                why="Fields may have changed their meaning between versions.",
                cure="Use the program version that wrote the bundle, or train again.",
            )
        return BundleSpec.model_validate(content)
    except ValueError as error:  # JSON and validation errors
        raise _unreadable(folder / SPEC, error) from error


def _unreadable(path: Path, error: ValueError) -> ModelGateError:
    return ModelGateError(
        f"{path} cannot be read: {error}",
        why="It is as it was written, but this program does not understand it.",
        cure="Use the program version that wrote the bundle, or train again.",
    )
