"""The architectures a recipe may name; importing this package registers the house's own with timm."""

from models.architectures import simple_cnn as _simple_cnn  # noqa: F401  (registers with timm)
from models.architectures.construction import build
from models.architectures.description import ArchitectureInfo, describe

__all__ = ["ArchitectureInfo", "build", "describe"]
