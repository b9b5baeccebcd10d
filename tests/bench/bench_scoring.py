"""Scoring files with a small network: CPU time per image from the file to the logged answer, both sides in one run.

The usual way opens each file with Pillow, converts it to RGB, resizes it, normalises it to a tensor and asks the
network about that one image. Ours checks the image, finds identity, descriptors and embedding on the way, and writes
all of it to the prediction log. Run with `python -m tests.bench.bench_scoring`.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision.transforms.v2 import functional

from data_contracts.images import DecodeLimits, read_image
from models import architectures
from models.evaluation.predictions import sealed_probabilities
from models.preprocessing import Preprocessing
from models.registry.bundle import BundleSpec, ModelBundle
from models.scoring.batch import score_files
from models.scoring.prediction_log import PredictionLog
from models.scoring.scorer import Scorer
from models.training.history import EpochRecord, TrainingHistory
from tests.bench.comparison import Comparison, judge
from tests.bench.timing import cpu_seconds_in_turn, one_processor
from tests.unit.test_input_checks import chest

FILES = 32
SIZE = 224
CLASSES = ["covid19", "bacterial", "pneumothorax", "normal"]


def main() -> int:
    """Measure, print the table, and return the exit status."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary, one_processor():
        folder = Path(temporary)
        comparisons = [
            compare("scoring 1024 x 1024 PNG", write_films(folder / "png", (1024, 1024), ".png"), folder, 3),
            compare("scoring 1300 x 1000 JPEG", write_films(folder / "jpeg", (1300, 1000), ".jpg"), folder, 3),
        ]
    return judge(comparisons)


def compare(name: str, files: Sequence[Path], folder: Path, target: float) -> Comparison:
    scorer = small_scorer(folder / "bundle")
    usual_network = peer_network()
    attempt = itertools.count()

    def usual() -> None:
        with torch.no_grad():
            for file in files:
                with Image.open(file) as image:
                    picture = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
                tensor = functional.to_dtype(functional.to_image(picture), torch.float32, scale=True)
                normalised = functional.normalize(tensor, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
                usual_network(normalised[None]).softmax(1)

    def ours() -> PredictionLog:
        log = PredictionLog(folder / f"log-{next(attempt)}")  # an image that is logged is not scored again
        score_files(scorer, log, files, None, lambda done, total, note: None)
        return log

    require_the_answers_of_an_evaluation(scorer, files, ours())
    seconds = cpu_seconds_in_turn(usual, ours)
    return Comparison(name, seconds[0] / len(files), seconds[1] / len(files), target)


def write_films(folder: Path, size: tuple[int, int], suffix: str) -> list[Path]:
    """Pictures that pass the input checks and cost what films cost to decode. size: width, height."""
    folder.mkdir()
    smooth = np.asarray(Image.fromarray(chest(64)).resize(size, Image.Resampling.BICUBIC), dtype=np.float64)
    rng = np.random.default_rng(0)
    files = [folder / f"{number}{suffix}" for number in range(FILES)]
    for file in files:
        noisy = np.clip(smooth + rng.normal(0, 1.2, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(file, **({"quality": 92} if suffix == ".jpg" else {}))
    return files


def peer_network() -> torch.nn.Module:
    torch.manual_seed(0)
    return architectures.build(
        "simple_cnn", num_classes=len(CLASSES), in_chans=3, img_size=SIZE, options={}
    ).eval()


def small_scorer(folder: Path) -> Scorer:
    torch.manual_seed(0)
    network = architectures.build("simple_cnn", num_classes=len(CLASSES), img_size=SIZE, options={}).eval()
    spec = BundleSpec(
        task="covid-bacterial-pneumothorax-normal",
        class_names=CLASSES,
        architecture="simple_cnn",
        image_size=SIZE,
        preprocessing=Preprocessing(size=SIZE, mode="half"),
        operating_points={},
        seed=0,
        recipe_name="bench",
        recipe={},
        data_hash="0" * 64,
        versions={},
    )
    record = EpochRecord(
        epoch=0, learning_rate=0.1, train_loss=1.0, val_loss=1.0, val_macro_auc=0.5, val_accuracy=0.5
    )
    bundle = ModelBundle.write(folder, network, spec, TrainingHistory(epochs=[record], best_epoch=0))
    return Scorer("bench", "1", bundle, bundle.load_model())


def require_the_answers_of_an_evaluation(scorer: Scorer, files: Sequence[Path], log: PredictionLog) -> None:
    spec = scorer.bundle.spec
    images = [read_image(file, size=SIZE, limits=DecodeLimits()) for file in files]
    store = np.stack([image.pixels for image in images])
    expected = sealed_probabilities(scorer.bundle.load_model(), spec, store, np.arange(len(files)))
    logged = log.read().frame.set_index("image_id").loc[[image.image_id for image in images]]
    found = logged[[f"p_{name}" for name in CLASSES]].to_numpy()
    assert np.abs(found - expected).max() < 1e-6


if __name__ == "__main__":
    sys.exit(main())
