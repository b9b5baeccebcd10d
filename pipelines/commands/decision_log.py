"""`lungline log`: checks the decision log, carries it from its file into a database, and writes copies of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.commands.decide import settled_registry
from pipelines.commands.output import console, print_json
from pipelines.environment import prepare_environment

if TYPE_CHECKING:
    from models.registry.decisions.log import Finding
    from models.registry.decisions.watchdog import Inspection

MODEL_GATE = 4
OK = 0


def verify_log(copy: Path | None, as_json: bool) -> int:
    """Print what is wrong with the log or the registry; 4 where something was changed, else 0.

    copy: an exported log, of which chain and end are checked by themselves.
    """
    found = _inspect_copy(copy) if copy else _inspect()
    lines = found.reading.lines
    if as_json:
        document = {
            "sound": found.sound,
            "entries": len(lines),
            "head": found.reading.head(lines[-1]).model_dump() if lines else None,
            "findings": [finding.model_dump() for finding in found.findings],
        }
        print_json(document)
        return OK if found.sound else MODEL_GATE
    print_findings(found.findings)
    if not found.sound:
        console().print(
            f"The log is good up to entry {len(lines) - 1}." if lines else "No entry of the log is good."
        )
        return MODEL_GATE
    if lines:
        compared = "a copy is not compared with the registry" if copy else "the registry agrees with them"
        console().print(f"{len(lines)} entries in log {found.reading.log_id[:8]}; {compared}.")
        console().print(
            f"head {lines[-1].hash}; a copy kept elsewhere shows even a log rewritten as a whole.", soft_wrap=True
        )
    else:
        console().print("No decision was made yet, and no champion stands in the registry.")
    return OK


def move_log(as_json: bool) -> None:
    """Carry the log file into the database."""
    from models.registry.decisions.transfer import move_into_database

    moved = move_into_database(prepare_environment().workspace)
    if as_json:
        print_json({"entries": moved.entries, "place": moved.place, "kept_as": str(moved.file)})
        return
    for line in (
        f"{moved.entries} entries in {moved.place}",
        f"The file is kept as {moved.file}; it is a copy from now on.",
        "`lungline log verify` compares the log with the registry.",
    ):
        console().print(line, markup=False, soft_wrap=True)


def export_log(file: Path, as_json: bool) -> None:
    """Write a copy of the log in use."""
    from models.registry.decisions.in_use import storage_in_use
    from models.registry.decisions.transfer import export

    made = export(storage_in_use(prepare_environment().workspace), file)
    if as_json:
        print_json({"entries": made.entries, "place": made.place, "file": str(file) if made.entries else None})
    elif made.entries:
        console().print(f"{made.entries} entries of {made.place} in {file}", markup=False, soft_wrap=True)
    else:
        console().print("No decision was made yet; nothing was written.")


def print_findings(findings: tuple[Finding, ...]) -> None:
    """One line each; alarms begin with ALARM."""
    for finding in findings:
        level = "ALARM" if finding.level == "alarm" else "note "
        console().print(f"{level} {finding.where}: {finding.what}", markup=False, soft_wrap=True)


def _inspect() -> Inspection:
    from models.registry.decisions.watchdog import verify

    environment, store = settled_registry()
    return verify(environment.workspace, store)


def _inspect_copy(file: Path) -> Inspection:
    from models.registry.decisions.file_storage import FileStorage
    from models.registry.decisions.log import DecisionLog
    from models.registry.decisions.watchdog import Inspection

    reading = DecisionLog(FileStorage(file)).read()
    return Inspection(reading, reading.findings)
