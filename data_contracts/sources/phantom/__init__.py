"""A procedural chest radiograph: pictures, their ground truth, and whole datasets of them in public raw layouts.

For trying the product without patient data and for tests that need to know the truth. It is a drawing, not a
simulation: no number measured on it says anything about medical use.
"""

from __future__ import annotations

from data_contracts.sources.phantom.collection import (
    GENERATOR_VERSION,
    PhantomFile,
    PhantomManifest,
    write_phantom_datasets,
)
from data_contracts.sources.phantom.disease import Disease
from data_contracts.sources.phantom.image import PhantomImage, draw_phantom
from data_contracts.sources.phantom.settings import PhantomSettings
from data_contracts.sources.phantom.shifts import AcquisitionShift, ShortcutKind, ShortcutSettings

__all__ = [
    "GENERATOR_VERSION",
    "AcquisitionShift",
    "Disease",
    "PhantomFile",
    "PhantomImage",
    "PhantomManifest",
    "PhantomSettings",
    "ShortcutKind",
    "ShortcutSettings",
    "draw_phantom",
    "write_phantom_datasets",
]
