"""Writes what makes one machine run a command at set times: a crontab line, or a systemd service and timer.

Nothing is installed: which of the two a machine uses, and as whom, is for its administrator to say.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from data_contracts.errors import UsageProblem
from pipelines.cron import CronExpression

Task = Literal["train", "monitor", "retrain"]
ALARM, TOO_FEW, STILL_RUNNING = 10, 11, 75  # 10 and 11 as `lungline monitor` ends; 75 is EX_TEMPFAIL of sysexits.h


@dataclass(frozen=True, slots=True)
class ScheduledCommand:
    """A command to run at set times.

    program: absolute, with fixed arguments. recipe: its name. arguments: of the command, after its name. environment:
    what must be set, absolute paths and no secret. cache: folder for its lock and what it prints.
    """

    task: Task
    recipe: str
    arguments: tuple[str, ...]
    cron: CronExpression
    program: tuple[str, ...]
    environment: Mapping[str, str]
    cache: Path

    @property
    def name(self) -> str:
        return f"lungline-{self.task}-{self.recipe}"

    @property
    def lock(self) -> Path:
        """Held while it runs. Training and retraining share one: they want the same data, GPU and registry."""
        what = "monitor" if self.task == "monitor" else "train"
        return self.cache / f"schedule-{what}-{self.recipe}.lock"

    @property
    def words(self) -> list[str]:
        """The command under its lock; ends with STILL_RUNNING where an earlier run holds it."""
        flock = ["flock", "--nonblock", f"--conflict-exit-code={STILL_RUNNING}", str(self.lock)]
        return [*flock, *self.program, self.task, *self.arguments]

    @property
    def fine(self) -> tuple[int, ...]:
        """Exit codes beside 0 that need nobody's attention. An alarm is not among them: it is for a person."""
        return (TOO_FEW,) if self.task == "monitor" else ()


def crontab_line(command: ScheduledCommand) -> str:
    """One line for `crontab -e`. Output goes to a log file; cron mails only what needs attention."""
    log = command.cache / f"{command.name}.log"
    settings = [f"{name}={value}" for name, value in command.environment.items()]
    line = f"{shlex.join(['env', *settings, *command.words])} >>{shlex.quote(str(log))} 2>&1"
    meaning = f"{ALARM} is an alarm, " if command.task == "monitor" else ""
    said = shlex.quote(f"{command.name} ended with exit code ") + '"$code"'
    said += shlex.quote(f" ({meaning}{STILL_RUNNING} that an earlier run still goes on); see {log}")
    fine = "".join(f'[ "$code" -eq {code} ] || ' for code in command.fine)
    line += f" || {{ code=$?; {fine}echo {said}; }}"
    # cron ends the command at an unescaped % and feeds the rest to it as input.
    return f"{command.cron.text} {line.replace('%', chr(92) + '%')}"


def systemd_units(command: ScheduledCommand) -> dict[str, str]:
    """File name -> content of a service and its timer, for ~/.config/systemd/user or /etc/systemd/system."""
    codes = " ".join(str(code) for code in (*command.fine, STILL_RUNNING))
    alarm = (
        [f"# An alarm, exit code {ALARM}, leaves the unit failed; `systemctl --failed` shows it."]
        if command.task == "monitor"
        else []
    )
    service = [
        "[Unit]",
        f"Description=Lungline: {command.task} {command.recipe}",
        "",
        "[Service]",
        "Type=oneshot",
        *(f"Environment={_quoted(f'{name}={value}')}" for name, value in command.environment.items()),
        f"ExecStart=/usr/bin/{' '.join(_quoted(word, command=True) for word in command.words)}",
        *alarm,
        f"SuccessExitStatus={codes}",
        # Ctrl-C is what the program knows how to end on: it keeps what was finished.
        "KillSignal=SIGINT",
        "TimeoutStopSec=5min",
    ]
    timer = [
        "[Unit]",
        f"Description=Lungline: {command.task} {command.recipe} ({command.cron.text})",
        "",
        "[Timer]",
        *(f"OnCalendar={when}" for when in command.cron.on_calendar()),
        "# A run that was missed while the machine was off is made up for once.",
        "Persistent=true",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return {
        f"{command.name}.service": "\n".join(service) + "\n",
        f"{command.name}.timer": "\n".join(timer) + "\n",
    }


def require_plain(name: str, value: str) -> str:
    """The value, if it fits one line of a crontab or unit. Raises UsageProblem where it does not."""
    if re.search(r"[\x00-\x1f\x7f]", value):
        raise UsageProblem(
            f"{name} holds a line break or another control character.",
            why="A crontab and a unit file have one line for it.",
            cure="Use a path without such characters.",
        )
    return value


def _quoted(word: str, *, command: bool = False) -> str:
    """As systemd.syntax(7) reads it: % and, in a command, $ stand for themselves when doubled."""
    word = word.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    if command:
        word = word.replace("$", "$$")
    return f'"{word}"' if re.search(r"[\s\"'\\;]", word) or not word else word
