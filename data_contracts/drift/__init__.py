"""Drift: the reference profile, the calibrated verdict on a window, its reports and its dashboard."""

from data_contracts.telemetry import switch_off_telemetry

switch_off_telemetry()
