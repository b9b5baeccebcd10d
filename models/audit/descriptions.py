"""What each test of the audit asks, in words for a reader who knows no statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True, slots=True)
class Description:
    """title, about, question and measure of an AuditItem."""

    title: str
    about: Literal["data", "model"]
    question: str
    measure: str


_AUC = "macro AUC of the classes"

# In the order of the report: first what the data offer, then what the network takes.
DESCRIPTIONS: Mapping[str, Description] = MappingProxyType(
    {
        "association": Description(
            "Class and source",
            "data",
            "Do the classes come from different collections, so that telling the collections apart would do?",
            "bias-corrected Cramér's V of class and source",
        ),
        "metadata_only": Description(
            "Metadata only",
            "data",
            "Can the class be told from colour mode, file format, size, shape, view, age and sex, without the picture?",
            f"{_AUC} by a linear probe",
        ),
        "border_only": Description(
            "Border only",
            "data",
            "Can the class be told from the outer 5 % of the picture, where there is no disease?",
            f"{_AUC} by a linear probe",
        ),
        "centre_black": Description(
            "Centre black",
            "data",
            "Can the class be told from a small picture whose middle, with most of the lungs, is black?",
            f"{_AUC} by a linear probe",
        ),
        "centre_black_model": Description(
            "Centre black, seen by the network",
            "model",
            "Does the network still tell the classes apart when the middle of the picture is black?",
            f"{_AUC} by the network",
        ),
        "lungs_removed": Description(
            "Lungs removed",
            "model",
            "Does the network still tell the classes apart when the lungs are replaced by the average picture?",
            f"{_AUC} by the network",
        ),
        "lung_only": Description(
            "Lungs only",
            "model",
            "Does the network lose skill when everything but the lungs is replaced by the average picture?",
            f"loss of {_AUC} by the network",
        ),
        "source_probe": Description(
            "Source within a class",
            "model",
            "Does what the network makes of an image tell which collection it comes from, among images of one class?",
            "macro AUC of the sources within each class, by a linear probe of the network's features",
        ),
        "paediatric_probe": Description(
            "Children among the normal",
            "model",
            "Does what the network makes of a normal image tell whether it shows a child?",
            "AUC of age below 18 years, by a linear probe of the network's features",
        ),
        "marker_sensitivity": Description(
            "Markers",
            "model",
            "Does the answer change when a letter or a text is pasted into a corner, or the corners are blanked?",
            "share of images whose answer changes",
        ),
        "consistency": Description(
            "Small changes of geometry",
            "model",
            "Does the answer move when the picture is cropped or turned a little?",
            "mean change of the probability of the class that was most probable",
        ),
        "source_swap": Description(
            "Another collection's grey levels",
            "model",
            "Does the answer change when an image gets the grey levels that are usual in another collection?",
            "share of images whose answer changes",
        ),
    }
)
