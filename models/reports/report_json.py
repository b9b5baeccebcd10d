"""Every number of a run's pages as one JSON text, for machines."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from models.registry.sealed_folder import canonical_json
from models.reports.answers import answers, trust

if TYPE_CHECKING:
    from pydantic import BaseModel

    from models.reports.run_report import ArchitectureSection, RunReport

FORMAT_VERSION = 1
_PICTURE = {"__all__": {"picture_png_base64"}}


def report_json(content: RunReport) -> str:
    """Sorted keys, equal bytes for equal content. It names no patient; images stand under the ids of the catalog.

    What is not finite, such as the loss of an epoch that failed, is null. Pictures are left to the pages.
    """
    whole = {
        "format_version": FORMAT_VERSION,
        **_dumped(content, exclude={"architectures"}),
        "architectures": [_architecture(section, content) for section in content.ranked],
    }
    return canonical_json(whole).decode()


def _architecture(section: ArchitectureSection, content: RunReport) -> dict[str, Any]:
    found = answers(section, content)
    mark, sentence, besides = trust(section.name, found)
    dumped = _dumped(section, exclude={"cam_sheet"})
    dumped["answers"] = [asdict(one) for one in found]
    dumped["trust"] = {"mark": mark, "sentence": sentence, "besides": besides}
    dumped["explanation"] = (
        _dumped(section.cam_sheet, exclude={"items": _PICTURE, "at_operating_point": _PICTURE})
        if section.explanation and section.cam_sheet
        else _dumped(section.cam_sheet, exclude={"items": _PICTURE})
        if section.cam_sheet
        else None
    )
    return dumped


def _dumped(model: BaseModel, exclude: Any) -> dict[str, Any]:
    # By way of text, which has null for what is not finite.
    dumped: dict[str, Any] = json.loads(model.model_dump_json(exclude=exclude))
    return dumped
