"""What a step's result depends on besides its inputs: the code it calls and the libraries that compute for it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

from zenml.config.cache_policy import CachePolicy
from zenml.utils import source_utils

from data_contracts.images import decoder_versions

ROOT = Path(__file__).resolve().parent.parent
# ZenML names steps and files from here, whatever program imported them.
source_utils.set_custom_source_root(str(ROOT))

COMPUTING_LIBRARIES = (
    "captum",
    "great-expectations",
    "numpy",
    "optuna",
    "pandas",
    "pillow",
    "scikit-learn",
    "scipy",
    "timm",
    "torch",
)
_READ_BESIDE_CODE = (".yaml", ".j2", ".css")


def library_versions() -> str:
    """The versions of the libraries whose numbers end up in results."""
    return " ".join(f"{name}={version(name)}" for name in COMPUTING_LIBRARIES)


def reading_versions() -> str:
    """The same with the libraries that read image files: one that is installed later reads what was refused."""
    return library_versions() + "".join(f" {name}={found}" for name, found in decoder_versions().items())


def cached_on(*modules: str, versions: Callable[[], str] = library_versions) -> CachePolicy:
    """A cache policy that runs the step again when the code of `modules`, or code they import, changes.

    Imports are followed within each module's own room: what another room does arrives as data, whose content hash is
    part of the key already. Suites, templates and style sheets beside the code count as code.
    """
    return CachePolicy(
        include_step_code=True,
        include_step_parameters=True,
        include_artifact_values=True,
        include_artifact_ids=True,
        file_dependencies=sorted(file.relative_to(ROOT).as_posix() for file in _code_of(modules)),
        cache_func=versions,
    )


def _code_of(modules: tuple[str, ...]) -> set[Path]:
    waiting = [file for module in modules for file in _files(module)]
    found: set[Path] = set()
    while waiting:
        file = waiting.pop()
        if file in found:
            continue
        found.add(file)
        room = file.relative_to(ROOT).parts[0]
        waiting += [f for name in _imports(file) if name.partition(".")[0] == room for f in _files(name)]
    folders = {folder for file in found for folder in (file.parent, file.parent / "templates")}
    return found | {data for folder in folders for data in folder.glob("*") if data.suffix in _READ_BESIDE_CODE}


def _files(name: str) -> Iterator[Path]:
    """The file of a module, or of the module a name was taken from, and the packages it lies in."""
    parts = name.split(".")
    for length in range(1, len(parts) + 1):
        place = ROOT.joinpath(*parts[:length])
        for file in (place / "__init__.py", place.with_suffix(".py")):
            if file.is_file():
                yield file


def _imports(file: Path) -> Iterator[str]:
    """Every name a file imports when it runs, at the top or inside functions; not what only a type checker reads."""
    waiting: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        waiting.extend(ast.iter_child_nodes(node))
