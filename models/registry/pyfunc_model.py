"""The registered version as an MLflow model: MLflow runs this file wherever a version is loaded.

A copy of it lies beside each version's bundle. It holds no logic, so that every version is read by the installed
program; the bundle is compared with its manifest before anything is loaded, and no pickle is involved.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from data_contracts.errors import UsageProblem
from models.registry.bundle import ModelBundle
from models.registry.pyfunc_packaging import BUNDLE, CONTENT_HASH
from models.scoring.given_images import given_images
from models.scoring.predict import predict_images

_SERVING = "_MLFLOW_IS_IN_SERVING_ENVIRONMENT"  # MLflow's scoring server sets it for itself


class BundleModel(PythonModel):
    """A verified bundle that answers what `given_images` understands with what `predict_images` gives."""

    def load_context(self, context: PythonModelContext) -> None:
        """Open the bundle and load its network. Raises ModelGateError unless it is the one that was registered."""
        registered = (context.model_config or {}).get(CONTENT_HASH, "none")
        bundle = ModelBundle.open(Path(context.artifacts[BUNDLE]))
        self._bundle = bundle.require_hash(registered, "This MLflow model")
        self._model = self._bundle.load_model()

    # MLflow looks at the annotation; with this one it passes on lists and records as they are, too.
    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """One row per picture, under the index of the table that was given.

        Raises MlflowException where the request has no pictures at all. A server reads no paths, and answers null
        where a table has nan, which JSON does not know.
        """
        serving = os.environ.get(_SERVING) == "true"
        try:
            images = given_images(model_input, paths=not serving)
        except UsageProblem as problem:
            raise MlflowException(str(problem), error_code=INVALID_PARAMETER_VALUE) from problem
        answers = predict_images(self._bundle, images, model=self._model)
        if serving:
            answers = answers.astype(object).where(answers.notna(), None)
        return answers.set_index(model_input.index) if isinstance(model_input, pd.DataFrame) else answers


set_model(BundleModel())
