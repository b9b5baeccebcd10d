"""`lungline schedule`: a schedule on a stack that can keep one, else what a machine's own cron or systemd needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from data_contracts.errors import UsageProblem
from data_contracts.workspace import Workspace
from pipelines.commands.output import console, print_json, print_table
from pipelines.cron import CronExpression
from pipelines.environment import prepare_environment
from pipelines.recipe import Recipe, load_recipe
from pipelines.schedules import ScheduledCommand, Task, crontab_line, require_plain, systemd_units

# What a person may have configured and a scheduled run needs as well, because cron and systemd know no shell profile.
_PASSED_ON = ("MLFLOW_TRACKING_URI", "ZENML_CONFIG_PATH", "ZENML_STORE_URL")
_SECRET = (
    *("LUNGLINE_DECISIONS_URL", "LUNGLINE_PATIENT_KEY"),
    *("ZENML_STORE_API_KEY", "ZENML_STORE_USERNAME", "ZENML_STORE_PASSWORD"),
    *("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"),
)


def schedule(
    recipe_name: str | None,
    cron: str | None,
    task: Task,
    data: Path | None,
    as_json: bool,
    stack: str | None = None,
) -> None:
    """Make a schedule where the stack can keep one; else print crontab line and systemd units.

    stack: else the active one.
    """
    if recipe_name is None or cron is None:
        raise UsageProblem(
            "A schedule needs a recipe and --cron.",
            why="They say what runs and when.",
            cure='For example: lungline schedule merged --cron "0 3 * * *" --for monitor',
        )
    recipe, when = load_recipe(recipe_name), CronExpression.parse(cron)
    if data is None and recipe.phantom is None and task != "monitor":
        raise UsageProblem(
            f"Recipe {recipe.name!r} needs real datasets and no data folder was given.",
            why="A scheduled run has nobody to ask for it.",
            cure="Name the folder that holds them with --data DIR or LUNGLINE_DATA.",
        )
    if stack is not None and task == "monitor":
        raise UsageProblem(
            "`lungline monitor` runs on no other stack.",
            why="It works on the log in LUNGLINE_HOME, so it runs where that lies.",
            cure="Leave out --stack.",
        )
    settings, notes = _environment(data)
    command = ScheduledCommand(
        task=task,
        recipe=recipe.name,
        arguments=(*_arguments(task, recipe, recipe_name), *_stack_option(stack)),
        cron=when,
        program=_program(),
        environment=settings,
        cache=Workspace.current().cache,
    )
    if not _stack_can_schedule(stack):
        _print_for_one_machine(command, notes, as_json)
    elif task == "train":
        _schedule_on_stack(command, recipe, data, as_json, stack)
    else:
        reason = (
            f"`lungline {task}` works on the log in LUNGLINE_HOME, so it runs where that lies, not on the stack"
        )
        _print_for_one_machine(command, [reason, *notes], as_json)


def list_schedules(as_json: bool, stack: str | None = None) -> None:
    """What the stack runs at set times; of a machine's own cron and systemd, how to ask them."""
    found = []
    if _stack_can_schedule(stack):
        from pipelines.stack_schedules import stack_schedules

        found = stack_schedules()
    if as_json:
        rows = [{"name": one.name, "cron": one.cron, "active": one.active} for one in found]
        print_json({"schedules": rows})
        return
    if found:
        print_table(
            ("schedule", "cron", ""), [(one.name, one.cron, "" if one.active else "paused") for one in found]
        )
    else:
        console().print("The stack runs nothing at set times.")
    console().print("This machine's own: `crontab -l` and `systemctl --user list-timers 'lungline-*'`.")


def remove(name: str, as_json: bool, stack: str | None = None) -> None:
    """Remove a schedule of the stack; for a machine's own, print what removes it."""
    if not _stack_can_schedule(stack):
        raise UsageProblem(
            f"The stack keeps no schedules, so there is no {name!r} to remove.",
            why="What a machine's own cron or systemd runs was put there by a person.",
            cure=f"Take the line out with `crontab -e`, or run `systemctl --user disable --now {name}.timer`.",
        )
    from pipelines.stack_schedules import remove_schedule

    remove_schedule(name)
    if as_json:
        print_json({"removed": name})
    else:
        console().print(f"removed  {name}", markup=False)


def _schedule_on_stack(
    command: ScheduledCommand, recipe: Recipe, data: Path | None, as_json: bool, stack: str | None
) -> None:
    from pipelines.runner import data_folder
    from pipelines.stack_schedules import schedule_training

    folder = data_folder(recipe, data, Workspace.current())
    schedule_training(recipe, folder, command.cron.text, command.name, stack)
    if as_json:
        print_json({"name": command.name, "cron": command.cron.text, "on_stack": True})
        return
    console().print(f"scheduled  {command.name}, {command.cron.text} in the cluster's time zone", markup=False)
    console().print(f"remove     lungline schedule remove {command.name}", markup=False)


def _print_for_one_machine(command: ScheduledCommand, notes: list[str], as_json: bool) -> None:
    line, units = crontab_line(command), systemd_units(command)
    if as_json:
        print_json(
            {
                "name": command.name,
                "cron": command.cron.text,
                "on_stack": False,
                "crontab": line,
                "systemd": units,
                "notes": notes,
            }
        )
        return
    timer = f"{command.name}.timer"
    print(f"# Nothing was installed. Either a line for `crontab -e`:\n{line}\n")
    print("# or two files in ~/.config/systemd/user and then")
    print(f"#   systemctl --user daemon-reload && systemctl --user enable --now {timer}")
    print("#   loginctl enable-linger   (so that it runs while nobody is logged in)")
    for name, text in units.items():
        print(f"\n# {name}\n{text}", end="")
    print("\n# Times are in this machine's time zone.")
    for note in notes:
        print(f"Note: {note}.", file=sys.stderr)


def _environment(data: Path | None) -> tuple[dict[str, str], list[str]]:
    """What the command needs to be told, and what a person must hand over by another way."""
    workspace = Workspace.current()
    settings = {"LUNGLINE_HOME": str(workspace.home)}
    if os.environ.get("LUNGLINE_CACHE"):
        settings["LUNGLINE_CACHE"] = str(workspace.cache)
    if data is not None:
        settings["LUNGLINE_DATA"] = str(data.resolve())
    notes = []
    for name in _PASSED_ON:
        value = os.environ.get(name, "")
        if value and (urlsplit(value).username or urlsplit(value).password):
            notes.append(f"{name} holds a password and was left out; see below for secrets")
        elif value:
            settings[name] = value
    secret = [name for name in _SECRET if os.environ.get(name)]
    if secret or notes:
        notes.append(
            f"secrets ({', '.join(secret) or 'as named above'}) are set here and not printed; put them into a file "
            "only its owner can read, and name it with EnvironmentFile= in the service"
        )
    return {name: require_plain(name, value) for name, value in settings.items()}, notes


def _stack_can_schedule(stack: str | None) -> bool:
    """Whether the stack takes schedules; else the active one. An embedded ZenML never used has its local stack only."""
    environment = prepare_environment()
    if stack is not None:
        from pipelines.runner import use_stack

        use_stack(stack)
    embedded = Path(os.environ.get("ZENML_CONFIG_PATH", "")) == environment.workspace.zenml
    if embedded and stack is None and not (environment.workspace.zenml / "config.yaml").is_file():
        return False  # and importing ZenML to hear so takes seconds
    from pipelines.stack_schedules import can_schedule

    return can_schedule()


def _arguments(task: Task, recipe: Recipe, name_or_path: str) -> tuple[str, ...]:
    """What follows the command's name: a model is watched, a recipe is trained."""
    if task == "monitor":
        return ("--model", recipe.model_name)
    path = Path(name_or_path)
    is_file = path.suffix in (".yaml", ".yml") and path.is_file()
    return (require_plain("The recipe's path", str(path.resolve()) if is_file else name_or_path),)


def _stack_option(stack: str | None) -> tuple[str, ...]:
    if stack is None:
        return ()
    is_file = stack.endswith((".yaml", ".yml")) and Path(stack).is_file()
    return ("--stack", require_plain("The stack's path", str(Path(stack).resolve()) if is_file else stack))


def _program() -> tuple[str, ...]:
    """The command as cron can start it: cron knows neither a virtual environment nor a search path."""
    beside = Path(sys.executable).with_name("lungline")
    return (str(beside),) if beside.is_file() else (sys.executable, "-m", "pipelines.cli")
