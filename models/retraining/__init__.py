"""Retraining with brakes on: what asks for it, what holds it back, and the journal that both are read from."""
