"""Fetches the images of NIH ChestX-ray14 from the twelve archives that the NIH shares; they hold no tables."""

from __future__ import annotations

from pathlib import Path

from data_contracts.fetch.answers import Origin
from data_contracts.fetch.archive import unpack_download
from data_contracts.fetch.http import Progress, download, quiet
from data_contracts.fetch.retry import RetryBudget

PAGE = "https://nihcc.app.box.com/v/ChestXray-NIHCC"
SHARED = "https://nihcc.box.com/shared/static"
# images_001 to images_012 in order. The NIH publishes no hashes: size and the archive's own checksum must do.
ARCHIVES = (
    "vfk49d74nhbxq3nqjg0900w5nvkorp5c",
    "i28rlmbvmfjbl8p2n3ril0pptcmcu9d1",
    "f1t00wrtdk94satdfb9olcolqx20z2jp",
    "0aowwzs5lhjrceb3qp67ahp0rd1l1etg",
    "v5e3goj22zr6h8tzualxfsqlqaygfbsn",
    "asi7ikud9jwnkrnkj99jnpfkjdes7l6l",
    "jn1b4mw4n6lnh74ovmcjb8y48h8xj07n",
    "tvpxmn7qyrgl0w8wfh9kqfjskv6nmm1j",
    "upyy3ml7qdumlgk2rfcvlb9k6gvqq2pj",
    "l6nilvfa9cg3s28tqv1qc1olm3gnz54p",
    "hhq8fkdgvcari67vfhs7ppg2w6ni4jze",
    "ioqwiy20ihqwyr8pf4c24eazhh281pbu",
)
TABLES_NOTE = (
    "the archives of the NIH hold images only: put Data_Entry_2017.csv (or Data_Entry_2017_v2020.csv) and "
    f"BBox_List_2017.csv beside the image folders; they lie at {PAGE} and on Kaggle (nih-chest-xrays/data)"
)


def fetch(
    staging: Path,
    content: Path,
    *,
    base_url: str = SHARED,
    budget: RetryBudget | None = None,
    progress: Progress = quiet,
) -> list[str]:
    """Download the archives one after another and unpack each to `content/images_0xx/`; returns remarks.

    An archive is removed once it is unpacked, so the peak is the images and one archive (about 4 GB).
    """
    origin = Origin(PAGE, "none are needed for the NIH's shared archives", "data_contracts/fetch/nih_box.py")
    half_done = content.with_name(content.name + ".collected")
    half_done.mkdir(parents=True, exist_ok=True)
    notes = [TABLES_NOTE]
    for number, shared_id in enumerate(ARCHIVES, start=1):
        folder = half_done / f"images_{number:03d}"
        if folder.exists():
            continue  # unpacked by an earlier run that was interrupted
        target = staging / f"{folder.name}.tar.gz"
        receipt = download(f"{base_url}/{shared_id}.gz", target, origin=origin, budget=budget, progress=progress)
        notes.append(f"{target.name}: sha256 {receipt.sha256}")
        notes += [f"{target.name}: {note}" for note in unpack_download(target, folder).notes()]
    half_done.replace(content)
    return notes
