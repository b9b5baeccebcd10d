"""The files beside a bundle that make it a model MLflow can load and serve: MLmodel, code, requirements, example.

Written here rather than by MLflow's save_model, which copies the weights once more and notes paths of this machine.
MLflow believes what lies in the artifact store, the code file and MLmodel too: whoever may write there may run code
wherever a version is loaded through MLflow. `download_bundle` runs nothing from there.
"""

from __future__ import annotations

import base64
import io
import json
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import yaml
from PIL import Image

from models.registry.bundle import BundleSpec, ModelBundle

BUNDLE = "bundle"  # the folder with the bundle's own files, and its name in MLmodel
CONTENT_HASH = "content_hash"
MLMODEL = "MLmodel"

_IMAGE = "image"  # models.scoring.given_images.IMAGE, whose import costs what every registry command would pay
_CODE = "pyfunc_model.py"
_REQUIREMENTS = "requirements.txt"
_CONDA, _PYTHON = "conda.yaml", "python_env.yaml"
_EXAMPLE, _SERVING_EXAMPLE = "input_example.json", "serving_input_example.json"
# Lungline itself is not named: it is installed from its repository or image, and its name on a public index would
# be somebody else's.
_REQUIRED = (
    *("mlflow", "numpy", "pandas", "pillow", "pyarrow", "pydantic", "safetensors", "scipy", "statsmodels"),
    *("timm", "torch", "torchvision"),
)


def pyfunc_files(bundle: ModelBundle, run_id: str, started_ms: int) -> dict[str, str]:
    """File name -> content, MLmodel last: with it the model is complete. The same arguments give the same bytes.

    run_id, started_ms: the run that trained the bundle, and when it was started, in ms since 1970.
    """
    requirements = [f"{name}=={version(name).partition('+')[0]}" for name in _REQUIRED]
    python = platform.python_version()
    picture = _example_picture()
    return {
        _CODE: Path(__file__).with_name(_CODE).read_text(encoding="utf-8"),
        _REQUIREMENTS: "\n".join(requirements) + "\n",
        _CONDA: yaml.safe_dump(
            {
                "name": "lungline",
                "channels": ["conda-forge"],
                "dependencies": [f"python={python}", "pip", {"pip": requirements}],
            }
        ),
        _PYTHON: yaml.safe_dump({"python": python, "dependencies": [f"-r {_REQUIREMENTS}"]}),
        _EXAMPLE: json.dumps({"columns": [_IMAGE], "data": [[picture]]}),
        _SERVING_EXAMPLE: json.dumps({"inputs": [picture]}),
        MLMODEL: _mlmodel(bundle, run_id, started_ms),
    }


def _mlmodel(bundle: ModelBundle, run_id: str, started_ms: int) -> str:
    from mlflow import pyfunc
    from mlflow.models import Model
    from mlflow.pyfunc.loaders import code_model

    model = Model(
        run_id=run_id,
        utc_time_created=datetime.fromtimestamp(started_ms / 1000, UTC).replace(tzinfo=None),
        model_uuid=bundle.content_hash[:32],
        signature=_signature(bundle.spec),
        saved_input_example_info={
            "artifact_path": _EXAMPLE,
            "type": "dataframe",
            "pandas_orient": "split",
            "serving_input_path": _SERVING_EXAMPLE,
        },
        model_size_bytes=sum(entry.size for entry in bundle.sealed.entries.values()),
    )
    pyfunc.add_to_model(
        model,
        loader_module=code_model.__name__,
        conda_env=_CONDA,
        python_env=_PYTHON,
        model_code_path=_CODE,
        model_config={CONTENT_HASH: bundle.content_hash},
        artifacts={BUNDLE: {"path": BUNDLE, "uri": BUNDLE}},
    )
    return str(model.to_yaml())


def _signature(spec: BundleSpec) -> object:
    from mlflow.models import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, Schema

    from models.scoring.predict import output_columns

    kinds = {str: DataType.string, float: DataType.double}
    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, _IMAGE)]),
        # A refused picture has no probabilities.
        outputs=Schema([ColSpec(kinds[t], name, required=t is str) for name, t in output_columns(spec).items()]),
    )
    # MLflow would turn away every list, and a whole table for one cell; so it is told that the model looks itself.
    signature._is_signature_from_type_hint = True
    return signature


def _example_picture() -> str:
    """A tiny PNG as base64: a grey ramp, which shows the form of a request and nothing else."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((32, 32)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
