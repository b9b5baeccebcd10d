"""Switches off what the libraries would send home or say, before any of them is imported.

Called by every package that imports one of them. A person who sets a variable beforehand keeps their choice.
"""

from __future__ import annotations

import os

_QUIET = {
    "ZENML_ANALYTICS_OPT_IN": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",  # Evidently, and MLflow as well
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "AUTO_OPEN_DASHBOARD": "false",
    # MLflow may not load pickles unless somebody insists.
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    # Standard output belongs to results: `--json` must stay one document.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # By default MLflow waits four minutes for a dead server, once per run.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def switch_off_telemetry() -> None:
    """Set the variables that are not set yet."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
