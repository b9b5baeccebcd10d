"""`lungline data fetch`: bring published datasets into the data folder; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_contracts.errors import EnvironmentProblem, ExternalServiceError, LunglineError, UsageProblem
from data_contracts.fetch import FETCHABLE, Fetched, fetch_source
from pipelines.commands.output import console, print_json
from steps.progress import progress, say


@dataclass(slots=True)
class _Outcome:
    fetched: list[Fetched] = field(default_factory=list)
    failed: dict[str, LunglineError] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """The worst of all; a dataset that cannot be used yet counts as a service that gave too little."""
        codes = [error.exit_code for error in self.failed.values()]
        codes += [ExternalServiceError.exit_code for fetched in self.fetched if fetched.missing]
        return max(codes, default=0)


def fetch(sources: Sequence[str], data: Path | None, as_json: bool) -> int:
    """Fetch each source in turn, say what came and what failed, and return the exit code."""
    folder = _data_folder(sources, data)
    outcome = _Outcome()
    for name in sources:
        try:
            with progress(f"fetch {name}") as report:
                outcome.fetched.append(fetch_source(name, folder, progress=_in_mebibytes(report)))
        except LunglineError as error:
            outcome.failed[name] = error
            say(f"Error: {name}: {error.what}\n  Why it matters: {error.why}\n  What to do: {error.cure}")
    if as_json:
        print_json(_document(outcome, folder))
    else:
        _print(outcome)
    return outcome.exit_code


def _data_folder(sources: Sequence[str], data: Path | None) -> Path:
    unknown = [name for name in sources if name not in FETCHABLE]
    if unknown:
        raise UsageProblem(
            f"There is no published source called {', '.join(map(repr, unknown))}.",
            why="Nothing was fetched, the known sources neither.",
            cure="Use some of: " + ", ".join(FETCHABLE) + ".",
        )
    if data is None:
        raise UsageProblem(
            "No data folder was given.",
            why="Datasets are large; where they go should be somebody's choice.",
            cure="Give it with --data DIR or LUNGLINE_DATA.",
        )
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise EnvironmentProblem(
            f"The data folder {data} cannot be made ({error.strerror}).",
            why="There is nowhere to put the datasets.",
            cure="Give a folder that you may write to with --data DIR.",
        ) from error
    return data


def _in_mebibytes(report: Callable[[int, int, str], None]) -> Callable[[int, int, str], None]:
    """Progress in MiB for a person to read; a remark (a retry, a wait) is a line of its own."""

    def in_mebibytes(done: int, total: int, note: str) -> None:
        if note:
            say(note)
        elif total:
            report(done >> 20, max(total >> 20, 1), "MiB")

    return in_mebibytes


def _print(outcome: _Outcome) -> None:
    for fetched in outcome.fetched:
        state = "already there" if fetched.already_there else "fetched"
        console().print(f"{fetched.source}: {state}: {fetched.folder}", soft_wrap=True)
        for note in fetched.notes:
            console().print(f"  {note}", soft_wrap=True)
        if fetched.missing:
            console().print(f"  cannot be used yet: {fetched.missing}", soft_wrap=True)
    if outcome.failed:
        console().print(f"failed: {', '.join(outcome.failed)}", soft_wrap=True)


def _document(outcome: _Outcome, data: Path) -> dict[str, object]:
    return {
        "data": str(data),
        "fetched": [
            {
                "source": fetched.source,
                "folder": str(fetched.folder),
                "already_there": fetched.already_there,
                "notes": fetched.notes,
                "missing": fetched.missing,
            }
            for fetched in outcome.fetched
        ],
        "failed": [
            {
                "source": name,
                "exit_code": error.exit_code,
                "what": error.what,
                "why": error.why,
                "cure": error.cure,
            }
            for name, error in outcome.failed.items()
        ],
    }
