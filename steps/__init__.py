"""Thin ZenML steps: each unpacks its inputs, calls one function of the domain and returns."""

from data_contracts.telemetry import switch_off_telemetry

switch_off_telemetry()
