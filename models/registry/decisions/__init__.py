"""The named human decision: who made which version the champion, when and why, in a log that shows every change."""

from data_contracts.telemetry import switch_off_telemetry

switch_off_telemetry()
