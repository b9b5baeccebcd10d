"""The architectures a recipe may name; importing this package registers the house's own with timm."""

from models.architectures import ae_cnn as _ae_cnn  # noqa: F401  (these imports register with timm)
from models.architectures import resnet_heads as _resnet_heads  # noqa: F401
from models.architectures import simple_cnn as _simple_cnn  # noqa: F401
from models.architectures import stacked_cnn as _stacked_cnn  # noqa: F401
from models.architectures.construction import build, initial_weights_of
from models.architectures.description import ArchitectureInfo, describe
from models.architectures.initial_weights import InitialWeights

__all__ = ["ArchitectureInfo", "InitialWeights", "build", "describe", "initial_weights_of"]
