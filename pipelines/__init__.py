"""The order of the steps, the recipes, and the command line; nothing else."""

from data_contracts.telemetry import switch_off_telemetry

switch_off_telemetry()
