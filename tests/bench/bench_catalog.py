"""The data part at the full size of NIH ChestX-ray14, 112,120 images: CPU seconds of each stage, and the peak memory.

No image is decoded: the image files are empty, and what decoding would tell is made up. Everything else is what a
run does: the adapter reads the published table format, the catalog is saved and hashed, the 14 findings become
labels, both gates of the data contract look at it, patients are dealt to splits.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from data_contracts.catalog import Catalog
from tests.bench.comparison import Limit, judge_limits

CPU_SECONDS, MEBIBYTES = 60, 2048
TASK = "nih-14"


def main() -> int:
    """Measure in a process of its own, print the table, and return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.bench.bench_catalog", folder]
        measured = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    peak = measured.pop("peak")
    limits = [Limit(f"112,120 images: {stage}", seconds, None, "CPU s") for stage, seconds in measured.items()]
    limits.append(Limit("112,120 images: all of it", sum(measured.values()), CPU_SECONDS, "CPU s"))
    limits.append(Limit("112,120 images: peak memory", peak, MEBIBYTES, "MiB"))
    return judge_limits(limits)


def measure(folder: Path) -> dict[str, float]:
    """CPU seconds by stage, the imports apart, and the peak memory of the process in MiB."""
    from data_contracts.expectations.runner import validate_catalog
    from data_contracts.labels import assign_labels
    from data_contracts.ontology import task_named
    from data_contracts.sources import fingerprint, merge
    from data_contracts.splits import SplitSettings, assign_splits
    from tests.bench.nih_catalog import as_decoded, write_dataset

    write_dataset(folder / "nih-chest-xrays")
    task = task_named(TASK)
    seconds: dict[str, float] = {}
    since = time.process_time()

    def done(stage: str) -> None:
        nonlocal since
        now = time.process_time()
        seconds[stage] = now - since
        since = now

    fingerprint(["nih"], folder)
    done("fingerprint of the files")
    offered, _ = merge(["nih"], folder)
    done("read the table, list the files")
    catalog = as_decoded(offered)
    since = time.process_time()
    catalog.save(folder / "catalog.parquet")
    assert Catalog.load(folder / "catalog.parquet").content_hash() == catalog.content_hash()
    done("save, load and hash the catalog")
    labelled = assign_labels(catalog, task)
    done("labels")
    validate_catalog(labelled, suite="catalog", classes=task.class_names, multi_label=task.multi_label)
    done("data contract before the split")
    dealt = assign_splits(labelled, SplitSettings())
    done("split")
    validate_catalog(dealt, suite="split", classes=task.class_names, multi_label=task.multi_label)
    done("data contract after the split")
    return {**seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(Path(sys.argv[1]))))
    else:
        sys.exit(main())
