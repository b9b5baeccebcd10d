"""`lungline data …`: what datasets there are, a phantom to try with, and the data part of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data_contracts.catalog import Catalog
from data_contracts.errors import UsageProblem
from data_contracts.sources import SOURCES
from data_contracts.splits import EXTERNAL, SPLITS, SplitSettings, split_statements
from pipelines.commands.output import console, print_json, print_table


def list_sources(data: Path | None, as_json: bool) -> None:
    """Every adapter with what was recognised below the data folder."""
    if data is not None and not data.is_dir():
        raise UsageProblem(
            f"The data folder {data} does not exist.",
            why="Nothing can be recognised in it.",
            cure="Give the folder that holds the datasets with --data DIR or LUNGLINE_DATA.",
        )
    entries = []
    releases = [source.description.expected_images for source in SOURCES.values()]  # 0: no published size
    for name, source in SOURCES.items():
        folder = source.find(data) if data is not None else None
        listing = source.read(folder, data) if folder is not None and data is not None else None
        entries.append(
            {
                "name": name,
                "title": source.description.title,
                "handle": source.description.handle,
                "licence": source.description.licence,
                "citation": source.description.citation,
                "images_in_full_release": source.description.expected_images,
                "folder": str(folder.relative_to(data)) if folder is not None and data is not None else None,
                "images_on_disk": len(listing.rows) if listing else 0,
                "notes": listing.notes if listing else [],
            }
        )
    if as_json:
        print_json({"data": str(data) if data else None, "sources": entries})
        return
    rows = [
        (
            str(entry["name"]),
            str(entry["title"]),
            f"{entry['images_on_disk']:,}" + (f" of {expected:,}" if expected else ""),
            str(entry["folder"] or "not found"),
        )
        for entry, expected in zip(entries, releases, strict=True)
    ]
    print_table(("source", "dataset", "#images here", "folder"), rows)
    for entry in entries:
        console().print(
            f"\n{entry['name']}: {entry['handle']}; licence: {entry['licence']}; cite: {entry['citation']}"
        )
        for note in entry["notes"]:
            console().print(f"  note: {note}")
    if data is None:
        console().print("\nNo data folder was given (--data DIR or LUNGLINE_DATA), so none was searched.")


def make_phantom(folder: Path, *, images: int, size: int, seed: int) -> None:
    """Draw the phantom datasets into `folder`."""
    from data_contracts.sources.phantom import PhantomSettings, write_phantom_datasets
    from steps.progress import progress

    with progress("draw") as report:
        manifest = write_phantom_datasets(folder, PhantomSettings(images=images, size=size, seed=seed), report)
    console().print(f"{len(manifest.files):,} phantom images in {folder}", soft_wrap=True)
    console().print(f"Try: lungline train quickstart --data {folder}", soft_wrap=True)


def build(recipe_name: str, data: Path | None, overrides: Sequence[str]) -> None:
    """Run ingest to split and say where the report lies."""
    from pipelines.environment import prepare_environment
    from pipelines.recipe import load_recipe

    recipe = load_recipe(recipe_name, overrides)
    environment = prepare_environment()
    from pipelines.runner import run_data

    result = run_data(recipe, data, environment.workspace)
    _print_composition(result.catalog, recipe.split)
    conflicts = _write_conflicts(result.catalog, result.report.with_name("conflicts.csv"))
    console().print(f"\ndata hash  {result.catalog.content_hash()[:16]}", soft_wrap=True)
    console().print(f"conflicts  {conflicts}", soft_wrap=True)
    console().print(f"report     {result.report}", soft_wrap=True)


def _print_composition(catalog: Catalog, split: SplitSettings) -> None:
    """Images by class, source and split, and what the split rests on. An image of several classes counts for each."""
    columns = (*SPLITS, EXTERNAL) if split.external_sources else SPLITS
    used = catalog.kept[lambda frame: frame["split"] != ""]
    classes = used.assign(label=used["label"].str.split("|")).explode("label")
    counts = classes.groupby(["label", "source", "split"]).size().unstack(fill_value=0)
    print_table(
        ("class", "source", *(f"#{name}" for name in columns)),
        [
            (label, source, *(f"{row.get(name, 0):,}" for name in columns))
            for (label, source), row in counts.iterrows()
        ],
    )
    for statement in split_statements(catalog, split):
        console().print(f"\n{statement}", markup=False)


def _write_conflicts(catalog: Catalog, path: Path) -> Path:
    """Write the work-list of contradicting labels, empty where there are none, and say how many there are."""
    from data_contracts.conflicts import conflict_worklist, write_worklist

    worklist = conflict_worklist(catalog)
    write_worklist(worklist, path)
    if len(worklist):
        console().print(
            f"\n{len(worklist):,} images in {worklist['conflict'].nunique():,} groups carry contradicting labels and "
            f"are not used. To decide, fill in the last four columns of {path.name}, put it below the data folder and "
            "name it in the recipe as identity.overlay."
        )
    return path
