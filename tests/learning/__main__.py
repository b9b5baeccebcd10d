"""Measures every recipe on real images over several seeds and writes the table of docs/learning.md.

Run it with `make learning DATA=DIR`. Each seed deals the patients anew and draws other weights; the spread holds both.
Weights start at random, images are small and epochs few: the table compares networks with what needs none, on the same
images, and is no claim about full training.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data_contracts.catalog import Catalog
from data_contracts.identity import assign_groups
from data_contracts.image_store import ImageStore, build_image_store
from data_contracts.labels import assign_labels
from data_contracts.overlay import apply_decisions, overlay_decisions
from data_contracts.sources import merge
from data_contracts.splits import assign_splits
from models.evaluation.baselines import evaluate_baselines
from models.evaluation.candidate import evaluate_candidate
from models.evaluation.results import Evaluation, Evaluations
from models.training.candidate import train_candidate
from pipelines.recipe import Recipe, load_recipe, recipe_names

# quickstart draws its own images; the search is measured as the one network it searches over.
NOT_HERE = ("quickstart",)


@dataclass(frozen=True)
class Measured:
    """One network or baseline of one recipe with one seed."""

    recipe: str
    name: str
    seed: int
    read: Evaluations


def main() -> None:
    arguments = _arguments()
    measured: list[Measured] = []
    for name in arguments.recipes:
        for seed in range(arguments.seeds):
            recipe = _short(name, seed, arguments.size, arguments.epochs)
            for one in _measure(recipe, arguments.data, arguments.home):
                measured.append(Measured(name, one.architecture, seed, one))
                print(f"{name} seed {seed}  {one.architecture}  {_text(one.test)}", flush=True)
        # After every recipe: hours of measuring should not be lost to an interruption.
        arguments.out.write_text(_page(measured, arguments), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.learning", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the datasets in their raw layouts")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, default=96, help="side of the stored images, pixels")
    parser.add_argument("--epochs", type=int, default=6, help="per network")
    parser.add_argument("--recipes", nargs="+", default=[n for n in recipe_names() if n not in NOT_HERE])
    parser.add_argument("--home", type=Path, default=Path(tempfile.gettempdir()) / "lungline-learning")
    parser.add_argument("--out", type=Path, default=Path("docs/learning.md"))
    return parser.parse_args()


def _short(name: str, seed: int, size: int, epochs: int) -> Recipe:
    """The recipe with small images, few epochs and random weights; stages become as long as `epochs` in all."""
    recipe = load_recipe(name, [f"images.size={size}", f"training.epochs={epochs}", "training.freeze_epochs=0"])
    architectures = []
    for architecture in recipe.architectures:
        change: dict[str, object] = {"init": None, "freeze_epochs": None, "epochs": None}
        if architecture.stages:
            stages = (("reconstruction", 1), ("classifier", max(1, epochs // 2 - 1)), ("joint", (epochs + 1) // 2))
            change |= {"stages": [{"name": stage, "epochs": length} for stage, length in stages]}
            change |= {"schedule": None, "drop_epochs": None}
        architectures.append(architecture.model_dump(mode="json") | change)
    content = recipe.model_dump(mode="json") | {"architectures": architectures}
    content["training"] |= {"init": "random", "seed": seed}
    content["search"] = None
    content["split"] |= {"seed": seed}
    return Recipe.model_validate(content)


def _measure(recipe: Recipe, data: Path, home: Path) -> Iterator[Evaluations]:
    store, catalog = _prepared(recipe, data, home)
    yield from evaluate_baselines(store, catalog, recipe.task_definition, recipe.evaluation)
    for architecture in recipe.architectures:
        with tempfile.TemporaryDirectory() as folder:
            bundle = train_candidate(
                store, catalog, recipe.what_shapes(architecture), Path(folder) / "bundle", lambda *_: None
            )
            yield evaluate_candidate(bundle, store, catalog, recipe.evaluation)[1]


def _prepared(recipe: Recipe, data: Path, home: Path) -> tuple[ImageStore, Catalog]:
    offered, _ = merge(recipe.sources, data)
    store = build_image_store(offered, data, recipe.images, home / "stores")
    identified = assign_groups(store.catalog, store.images, recipe.identity)
    decided = apply_decisions(identified, overlay_decisions(recipe.identity, data))
    return store, assign_splits(assign_labels(decided, recipe.task_definition), recipe.split)


def _page(measured: Sequence[Measured], arguments: argparse.Namespace) -> str:
    lines = [
        "# What the recipes learn, beside what needs no network",
        "",
        f"Macro ROC AUC on test, mean ± standard deviation over {arguments.seeds} seeds. Each seed deals the patients "
        "anew and draws other weights.",
        f"Images of {arguments.size} pixels, {arguments.epochs} epochs, weights from random, no published weights. "
        "The real images are a sample of each collection,",
        "so the numbers compare rows of one recipe; they are no claim about full training. Made by",
        f"`python -m tests.learning --data DIR --seeds {arguments.seeds} --size {arguments.size} "
        f"--epochs {arguments.epochs}`.",
        "",
        "| recipe | network or baseline | test images | macro AUC on test | on external images |",
        "|---|---|---:|---:|---:|",
    ]
    for recipe, name in dict.fromkeys((one.recipe, one.name) for one in measured):
        reads = [one.read for one in measured if (one.recipe, one.name) == (recipe, name)]
        images = sorted(read.test.n for read in reads)
        lines.append(
            f"| {recipe} | {name} | {_range(images)} | {_spread([read.test for read in reads])} | "
            f"{_spread([read.external for read in reads if read.external])} |"
        )
    return "\n".join(lines) + "\n"


def _range(counts: Sequence[int]) -> str:
    return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]}–{counts[-1]}"


def _spread(read: Sequence[Evaluation]) -> str:
    values = [one.macro_auc.value for one in read if one.macro_auc.value is not None]
    if not values:
        return "undefined" if read else ""
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    missing = f" ({len(values)} of {len(read)} seeds)" if len(values) < len(read) else ""
    return f"{statistics.mean(values):.3f}{spread}{missing}"


def _text(read: Evaluation) -> str:
    return read.macro_auc.undefined or f"macro AUC {read.macro_auc.value:.3f} (n = {read.n})"


if __name__ == "__main__":
    main()
