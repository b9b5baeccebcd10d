"""Where trained models are kept: verified bundles on disk, runs and versions in MLflow."""

from data_contracts.telemetry import switch_off_telemetry

switch_off_telemetry()
