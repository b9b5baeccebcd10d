"""`lungline stack apply|show|check`: stacks kept as files, and whether ZenML's are as the files say."""

from __future__ import annotations

import os
from dataclasses import asdict

import yaml

from deploy.stacks.stack_file import load_stack
from pipelines.commands.output import console, print_json, print_table
from pipelines.environment import prepare_environment

ENVIRONMENT_PROBLEM = 5


def apply(name_or_path: str, as_json: bool) -> None:
    """Register the stack, or bring it up to date, and say what that changed."""
    stack = load_stack(name_or_path)
    prepare_environment()
    from pipelines.stack_registration import apply_stack

    changes = apply_stack(stack, os.environ)
    if as_json:
        print_json({"stack": stack.name, "changes": [asdict(change) for change in changes]})
        return
    print_table(("what", "name", ""), [(change.kind, change.name, change.did) for change in changes])
    console().print(f"run on it: lungline train RECIPE --stack {name_or_path}", markup=False)


def show(name_or_path: str, as_json: bool) -> None:
    """Print the stack as its file describes it here, variables filled in. It holds no secret."""
    stack = load_stack(name_or_path)
    content = stack.model_dump(mode="json", exclude_defaults=True)
    if as_json:
        print_json(content)
    else:
        print(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), end="")


def check(name_or_path: str, as_json: bool) -> int:
    """Print what keeps a run on the stack from working as the file says: 5 where there is anything, else 0."""
    stack = load_stack(name_or_path)
    prepare_environment()
    from pipelines.stack_registration import differences

    found = differences(stack)
    if as_json:
        print_json({"stack": stack.name, "differences": [asdict(one) for one in found]})
    elif found:
        print_table(("found", "what to do"), [(one.what, one.cure) for one in found])
    else:
        console().print(f"{stack.name} is registered as its file says. The cluster itself was not asked.")
    return ENVIRONMENT_PROBLEM if found else 0
