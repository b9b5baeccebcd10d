"""Where everything the program writes lies: one folder, LUNGLINE_HOME, with a fixed place for each kind of thing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from data_contracts.errors import EnvironmentProblem


@dataclass(frozen=True, slots=True)
class Workspace:
    """Paths below LUNGLINE_HOME (default ./.lungline). Nothing is created until `create` is called."""

    home: Path

    @classmethod
    def current(cls) -> Workspace:
        return cls(Path(os.environ.get("LUNGLINE_HOME", ".lungline")).expanduser().resolve())

    @property
    def mlflow(self) -> Path:
        return self.home / "mlflow"

    @property
    def zenml(self) -> Path:
        return self.home / "zenml"

    @property
    def stores(self) -> Path:
        return self.home / "stores"

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    @property
    def predictions(self) -> Path:
        return self.home / "predictions"

    @property
    def monitoring(self) -> Path:
        return self.home / "monitoring"

    @property
    def evidently(self) -> Path:
        return self.home / "evidently"

    @property
    def cache(self) -> Path:
        """What can be made again; on a disk of its own where LUNGLINE_CACHE names one."""
        elsewhere = os.environ.get("LUNGLINE_CACHE", "")
        return Path(elsewhere).resolve() if elsewhere else self.home / "cache"

    def create(self) -> None:
        """Make the folders. Raises EnvironmentProblem where the place cannot be written."""
        try:
            for folder in (self.mlflow, self.zenml, self.stores, self.runs, self.cache):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EnvironmentProblem(
                f"LUNGLINE_HOME cannot be written: {self.home} ({error.strerror}).",
                why="Runs, models and reports have nowhere to go.",
                cure="Set LUNGLINE_HOME to a folder you may write to.",
            ) from error
