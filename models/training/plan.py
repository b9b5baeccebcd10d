"""Everything the training of one architecture needs, read from a recipe's sections and the catalog."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from data_contracts.catalog import Catalog
from data_contracts.image_store import ImageStore
from data_contracts.ontology import Task, task_named
from data_contracts.targets import targets
from models.architectures import describe
from models.preprocessing import Preprocessing
from models.training.augmentation_settings import AugmentationSettings
from models.training.batches import LabelledRows
from models.training.feature_cache import FeatureCache
from models.training.history import EpochRecord
from models.training.loop import TrainedClassifier, train_classifier
from models.training.settings import ArchitectureSettings, TrainingSettings


@dataclass(frozen=True, slots=True, eq=False)
class TrainingPlan:
    """The images of the training and validation splits and the settings; the other splits are out of its reach."""

    architecture: ArchitectureSettings
    settings: TrainingSettings
    task: Task
    images: NDArray[np.uint8]
    train: LabelledRows
    val: LabelledRows
    augmentation: AugmentationSettings
    preprocessing: Preprocessing

    @classmethod
    def read(cls, store: ImageStore, catalog: Catalog, shaped_by: Mapping[str, Any]) -> Self:
        """shaped_by: the recipe sections that decide the weights (`Recipe.what_shapes`)."""
        architecture = ArchitectureSettings(**shaped_by["architecture"])
        task = task_named(shaped_by["task"])
        usual = describe(architecture.name, architecture.cam_layer, architecture.options).preprocessing_mode
        return cls(
            architecture=architecture,
            settings=TrainingSettings(**shaped_by["training"]),
            task=task,
            images=store.images,
            train=labelled_rows(catalog, "train", task),
            val=labelled_rows(catalog, "val", task),
            augmentation=AugmentationSettings(**shaped_by["augmentation"]),
            preprocessing=Preprocessing(
                size=store.size, mode=architecture.preprocessing or usual, channels=architecture.channels
            ),
        )

    def carry_out(
        self,
        architecture: ArchitectureSettings,
        *,
        on_epoch: Callable[[EpochRecord], None],
        say: Callable[[str], None] | None = None,
        checkpoints: Path | None = None,
        features: FeatureCache | None = None,
        with_probabilities: bool = True,
    ) -> TrainedClassifier:
        """Train as planned. architecture: the plan's own, or with other hyper-parameters; the rest as in
        `train_classifier`."""
        return train_classifier(
            architecture=architecture,
            classes=self.task.class_names,
            images=self.images,
            train=self.train,
            val=self.val,
            settings=self.settings,
            augmentation=self.augmentation,
            preprocessing=self.preprocessing,
            multi_label=self.task.multi_label,
            on_epoch=on_epoch,
            say=say,
            checkpoints=checkpoints,
            features=features,
            with_probabilities=with_probabilities,
        )


def labelled_rows(catalog: Catalog, split: str, task: Task) -> LabelledRows:
    """The images of one split with what is true of them, by store row."""
    kept = catalog.kept
    chosen = kept[kept["split"] == split]
    return LabelledRows(
        rows=chosen["row"].to_numpy(dtype=np.int64),
        targets=targets(chosen, task),
        image_ids=chosen["image_id"].to_numpy(dtype=np.str_),
        sources=chosen["source"].to_numpy(dtype=np.str_),
    )
