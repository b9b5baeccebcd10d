"""What a step's result depends on besides its inputs: the code it calls and the libraries that compute for it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from zenml.config.cache_policy import CachePolicy

ROOT = Path(__file__).resolve().parent.parent
COMPUTING_LIBRARIES = (
    "captum",
    "great-expectations",
    "numpy",
    "pandas",
    "pillow",
    "scikit-learn",
    "timm",
    "torch",
)


def library_versions() -> str:
    """The versions of the libraries whose numbers end up in results."""
    return " ".join(f"{name}={version(name)}" for name in COMPUTING_LIBRARIES)


def cached_on(*places: str) -> CachePolicy:
    """A cache policy that runs the step again when code in `places` (files or folders below the root) changes."""
    files: list[str] = []
    for place in places:
        found = sorted((ROOT / place).rglob("*.*")) if (ROOT / place).is_dir() else [ROOT / place]
        files += [f.relative_to(ROOT).as_posix() for f in found if f.suffix in {".py", ".yaml", ".j2", ".css"}]
    return CachePolicy(
        include_step_code=True,
        include_step_parameters=True,
        include_artifact_values=True,
        include_artifact_ids=True,
        file_dependencies=files,
        cache_func=library_versions,
    )
