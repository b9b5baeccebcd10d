"""`lungline reconcile`: closes runs that nobody works on any more, and says what each was judged by."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta

from pipelines.commands.output import console, print_json, print_table
from pipelines.environment import prepare_environment


def reconcile(stack: str | None, older_than: int | None, dry_run: bool, as_json: bool) -> None:
    """Print what was closed and what was left. older_than: minutes."""
    environment = prepare_environment()
    from pipelines.reconciliation import reconcile as judge

    age = None if older_than is None else timedelta(minutes=older_than)
    judged = list(judge(environment.workspace, stack=stack, older_than=age, dry_run=dry_run))
    if as_json:
        print_json({"dry_run": dry_run, "judged": [asdict(one) for one in judged]})
    elif judged:
        said = {"closed": "would be closed" if dry_run else "closed", "left": "left"}
        print_table(("", "what", "name", "why"), [(said[one.did], one.kind, one.name, one.why) for one in judged])
    else:
        console().print("Nothing was left open.")
