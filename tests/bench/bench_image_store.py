"""Building the image store against the usual decode: CPU time per image, both sides in the same run.

The usual way opens each file with Pillow, converts it to RGB and resizes it. Ours does the same to one grey channel
and finds hashes, descriptors and duplicates on the way, and writes the store to disk.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from pathlib import Path

import pandas as pd
from PIL import Image

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStoreSettings, build_image_store
from tests.bench.comparison import Comparison, judge
from tests.bench.pictures import write_pictures
from tests.bench.timing import cpu_seconds_in_turn, one_processor

FILES = 240  # enough that what a store costs once hardly shows
SIDE = 224


def main() -> int:
    """Measure, print the table, and return the exit status."""
    with tempfile.TemporaryDirectory() as temporary, one_processor():
        folder = Path(temporary)
        write_pictures(folder / "png", FILES)
        write_pictures(folder / "jpeg", FILES, (1300, 1000), ".jpg", quality=92)
        comparisons = [
            compare("store from 1024 x 1024 PNG", folder / "png", folder / "stores", 1.25),
            compare("store from 1300 x 1000 JPEG", folder / "jpeg", folder / "stores", 2.5),
        ]
    return judge(comparisons)


def compare(name: str, pictures: Path, stores: Path, target: float) -> Comparison:
    files = sorted(file for file in pictures.rglob("*") if file.is_file())
    offered = Catalog.of(
        pd.DataFrame({"source": "bench", "file": [file.relative_to(pictures).as_posix() for file in files]})
    )
    attempt = itertools.count()

    def usual() -> None:
        for file in files:
            with Image.open(file) as image:
                image.convert("RGB").resize((SIDE, SIDE))

    def ours() -> None:
        fresh = stores / pictures.name / str(next(attempt))  # a store of an earlier attempt would be reused
        fresh.mkdir(parents=True)
        store = build_image_store(offered, pictures, ImageStoreSettings(size=SIDE), fresh)
        assert len(store.images) == len(files)

    seconds = cpu_seconds_in_turn(usual, ours)
    return Comparison(name, seconds[0] / len(files), seconds[1] / len(files), target)


if __name__ == "__main__":
    sys.exit(main())
