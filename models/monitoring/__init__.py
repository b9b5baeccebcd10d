"""Watching a model in use: its reference profile, its windows of scored images, and the verdict on each."""
