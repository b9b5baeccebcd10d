"""Schedules: cron expressions read strictly, written as systemd understands them, and commands that survive a shell."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from data_contracts.errors import UsageProblem
from pipelines.cron import CronExpression
from pipelines.schedules import ScheduledCommand, crontab_line, require_plain, systemd_units

# cron expression -> OnCalendar, and the next times after Friday 2026-01-02 00:00 by hand.
TABLE = [
    ("0 3 * * *", ["*-*-* 03:00:00"], ["2026-01-02 03:00", "2026-01-03 03:00"]),
    ("*/15 * * * *", ["*-*-* *:00,15,30,45:00"], ["2026-01-02 00:15", "2026-01-02 00:30"]),
    ("30 5 * * mon", ["Mon *-*-* 05:30:00"], ["2026-01-05 05:30", "2026-01-12 05:30"]),
    ("0 6 * * 1-5", ["Mon,Tue,Wed,Thu,Fri *-*-* 06:00:00"], ["2026-01-02 06:00", "2026-01-05 06:00"]),
    ("0 6 * * 7", ["Sun *-*-* 06:00:00"], ["2026-01-04 06:00", "2026-01-11 06:00"]),
    ("0 6 * * 5-7", ["Sun,Fri,Sat *-*-* 06:00:00"], ["2026-01-02 06:00", "2026-01-03 06:00"]),
    ("0 0 1 jan,JUL *", ["*-01,07-01 00:00:00"], ["2026-07-01 00:00", "2027-01-01 00:00"]),
    ("5 4 29 2 *", ["*-02-29 04:05:00"], ["2028-02-29 04:05", "2032-02-29 04:05"]),
    # Day of month or day of week, as cron means it.
    (
        "0 1 13 * fri",
        ["*-*-13 01:00:00", "Fri *-*-* 01:00:00"],
        ["2026-01-02 01:00", "2026-01-09 01:00", "2026-01-13 01:00", "2026-01-16 01:00"],
    ),
    ("0 1 13 * 0-6", ["*-*-* 01:00:00"], ["2026-01-02 01:00", "2026-01-03 01:00"]),
    ("0-20/10 8,20 * * *", ["*-*-* 08,20:00,10,20:00"], ["2026-01-02 08:00", "2026-01-02 08:10"]),
    ("0 0 */10 * *", ["*-*-01,11,21,31 00:00:00"], ["2026-01-11 00:00", "2026-01-21 00:00", "2026-01-31 00:00"]),
    ("@weekly", ["Sun *-*-* 00:00:00"], ["2026-01-04 00:00"]),
    ("@Daily", ["*-*-* 00:00:00"], ["2026-01-03 00:00"]),
]


@pytest.mark.parametrize(("cron", "calendar"), [(cron, calendar) for cron, calendar, _ in TABLE])
def test_cron_is_written_as_on_calendar(cron: str, calendar: list[str]) -> None:
    assert CronExpression.parse(cron).on_calendar() == calendar


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize(("cron", "times"), [(cron, times) for cron, _, times in TABLE])
def test_systemd_elapses_when_cron_would(cron: str, times: list[str]) -> None:
    lines = CronExpression.parse(cron).on_calendar()
    elapses: set[str] = set()
    for line in lines:
        said = subprocess.run(
            ["systemd-analyze", "calendar", "--base-time=2026-01-02 00:00:00 UTC", "--iterations=6", line],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "TZ": "UTC", "LC_ALL": "C"},
        )
        elapses |= set(re.findall(r"\b(\d{4}-\d\d-\d\d \d\d:\d\d):00 UTC", said.stdout))
    assert sorted(elapses)[: len(times)] == times


@pytest.mark.parametrize(
    ("cron", "said"),
    [
        ("", "it has 0 fields, not 5"),
        ("0 3 * *", "it has 4 fields, not 5"),
        ("0 0 3 * * *", "it has 6 fields, not 5"),
        ("60 3 * * *", "minute '60' is not 0 to 59"),
        ("0 24 * * *", "hour '24' is not 0 to 23"),
        ("0 3 0 * *", "day of month '0' is not 1 to 31"),
        ("0 3 * 13 *", "month '13' is not 1 to 12 or jan to dec"),
        ("0 3 * * 8", "day of week '8' is not 0 to 7 or sun to sat"),
        ("0 3 * * may", "day of week 'may' is not"),
        ("mon 3 * * *", "minute 'mon' is not"),
        ("0 5-3 * * *", "hour '5-3' ends before it begins"),
        ("*/0 * * * *", "minute '*/0' has a step outside"),
        ("5/10 * * * *", "minute '5/10' has a step and no range"),
        ("1,,2 * * * *", "minute '' is not of the form"),
        ("-5 * * * *", "minute '-5' is not of the form"),
        ("*-5 * * * *", "minute '*-5' is not of the form"),
        ("0 3 L * *", "day of month 'l' is not of the form"),
        ("0 3 ? * 1", "day of month '?' is not of the form"),
        ("0 3 */2 * mon", "means 'and' to some crons"),
        ("0 3 31 2,4 *", "no month it names has a day 31"),
        ("@reboot", "@reboot is not among @yearly"),
        ("0 3 * * *\n* * * * *", "it has 10 fields"),
    ],
)
def test_what_is_no_cron_expression_is_refused_naming_the_field(cron: str, said: str) -> None:
    with pytest.raises(UsageProblem) as refused:
        CronExpression.parse(cron)
    assert said in refused.value.what


def a_command(folder: Path, **changes: object) -> ScheduledCommand:
    """A program that says what it was given and ends as the file `code` beside it says."""
    program = folder / "lung line"
    program.write_text('#!/bin/sh\necho "$1|$2|$LUNGLINE_HOME|$LUNGLINE_DATA"\nexit "$(cat "$0.code")"\n')
    program.chmod(0o755)
    home = folder / "100% of 'it' $HOME"
    (home / "cache").mkdir(parents=True)
    command = ScheduledCommand(
        task="monitor",
        recipe="merged",
        arguments=("merged",),
        cron=CronExpression.parse("0 3 * * *"),
        program=(str(program),),
        environment={"LUNGLINE_HOME": str(home), "LUNGLINE_DATA": "/data/a b"},
        cache=home / "cache",
    )
    return replace(command, **changes)  # type: ignore[arg-type]


def as_cron_runs_it(line: str) -> subprocess.CompletedProcess[str]:
    """The line after its five fields, by sh, with \\% meaning %."""
    script = line.split(" ", 5)[5].replace("\\%", "%")
    return subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})


@pytest.mark.parametrize(
    ("task", "code", "mailed"),
    [
        ("monitor", 0, ""),
        ("monitor", 10, "10 is an alarm"),
        ("monitor", 11, ""),
        ("train", 3, "exit code 3"),
        ("train", 11, "exit code 11"),
    ],
)
def test_the_crontab_line_runs_the_command_and_cron_mails_what_needs_attention(
    tmp_path: Path, task: str, code: int, mailed: str
) -> None:
    command = a_command(tmp_path, task=task)
    (tmp_path / "lung line.code").write_text(str(code))
    line = crontab_line(command)
    assert line.startswith("0 3 * * * ")
    assert re.search(r"(?<!\\)%", line) is None
    ran = as_cron_runs_it(line)
    assert ran.stderr == ""
    assert (mailed in ran.stdout) if mailed else ran.stdout == ""
    log = command.cache / f"lungline-{task}-merged.log"
    assert log.read_text() == f"{task}|merged|{command.cache.parent}|/data/a b\n"


def test_a_run_that_still_goes_on_is_not_joined_by_another(tmp_path: Path) -> None:
    command = a_command(tmp_path)
    (tmp_path / "lung line.code").write_text("0")
    holder = subprocess.Popen(
        ["flock", str(command.lock), "sh", "-c", "echo held; sleep 60"], stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        ran = as_cron_runs_it(crontab_line(command))
    finally:
        holder.kill()
        holder.wait()
    assert "exit code 75" in ran.stdout
    assert (command.cache / "lungline-monitor-merged.log").read_text() == ""


def test_training_and_retraining_share_a_lock_and_the_monitor_does_not(tmp_path: Path) -> None:
    command = a_command(tmp_path)
    train, retrain = (replace(command, task=task) for task in ("train", "retrain"))
    assert train.lock == retrain.lock != command.lock


def test_the_units_say_when_with_what_and_which_codes_are_fine(tmp_path: Path) -> None:
    command = a_command(tmp_path, cron=CronExpression.parse("0 1 13 * fri"))
    units = systemd_units(command)
    service, timer = units["lungline-monitor-merged.service"], units["lungline-monitor-merged.timer"]
    assert re.findall("^OnCalendar=(.*)$", timer, re.MULTILINE) == ["*-*-13 01:00:00", "Fri *-*-* 01:00:00"]
    assert "Persistent=true" in timer
    assert "SuccessExitStatus=11 75" in service
    assert 'Environment="LUNGLINE_DATA=/data/a b"' in service
    assert "100%% of 'it' $HOME\"" in service  # % doubled everywhere
    assert "100%% of 'it' $$HOME/cache" in service  # $ doubled in the command
    assert "SuccessExitStatus=75" in systemd_units(replace(command, task="train"))["lungline-train-merged.service"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for name, text in systemd_units(a_command(tmp_path)).items():
        (tmp_path / name).write_text(text)
    paths = [str(path) for path in tmp_path.glob("lungline-*")]
    said = subprocess.run(["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True)
    mine = [line for line in said.stderr.splitlines() if "lungline-" in line]
    assert mine == []


def test_a_path_with_a_line_break_fits_no_crontab() -> None:
    with pytest.raises(UsageProblem, match="LUNGLINE_HOME holds a line break"):
        require_plain("LUNGLINE_HOME", "/home/a\n* * * * * rm")


def test_sunday_is_0_to_kubernetes_which_knows_no_7() -> None:
    assert CronExpression.parse("0 6 * * 7").text == "0 6 * * 0"
    assert CronExpression.parse("0 6 1 * 5-7").text == "0 6 1 * 0,5,6"
    assert CronExpression.parse("0 6 * * 1-7/2,fri").text == "0 6 * * 0,1,3,5"
    assert CronExpression.parse("7 7 7 7 1-5").text == "7 7 7 7 1-5"


@pytest.mark.parametrize("cron", ["0 6 * * 7", "0 6 1 * 5-7", "0 6 * * 1-7/2,fri"])
def test_written_with_0_a_sunday_is_still_what_it_was(cron: str) -> None:
    read = CronExpression.parse(cron)
    again = CronExpression.parse(read.text)
    assert (again, again.on_calendar()) == (read, read.on_calendar())


def test_the_command_prints_both_ways_and_no_secret(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("lungline")
    environment = {
        **os.environ,
        "LUNGLINE_HOME": str(tmp_path / "home"),
        "LUNGLINE_CACHE": str(tmp_path / "elsewhere"),
        "LUNGLINE_DECISIONS_URL": "mysql+pymysql://lungline:do-not-print@database:3306/lungline",
        "LUNGLINE_PATIENT_KEY": "do-not-print-this-key",
        "MLFLOW_TRACKING_TOKEN": "do-not-print-this-token",
        "MLFLOW_TRACKING_URI": "https://anna:do-not-print@example.org",
        "HOME": str(tmp_path),
    }
    ran = subprocess.run(
        [program, "schedule", "merged", "--cron", "@daily", "--for", "retrain", "--data", str(tmp_path), "--json"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert (said["name"], said["cron"], said["on_stack"]) == ("lungline-retrain-merged", "0 0 * * *", False)
    assert f"LUNGLINE_DATA={tmp_path}" in said["crontab"]
    assert f"{program} retrain merged" in said["crontab"]
    assert set(said["systemd"]) == {"lungline-retrain-merged.service", "lungline-retrain-merged.timer"}
    assert "do-not-print" not in ran.stdout + ran.stderr
    secrets = ("LUNGLINE_DECISIONS_URL", "LUNGLINE_PATIENT_KEY", "MLFLOW_TRACKING_TOKEN")
    assert all(name in said["notes"][-1] for name in secrets)
    assert f"LUNGLINE_CACHE={tmp_path / 'elsewhere'} " in said["crontab"]
    assert (
        f">>{tmp_path / 'elsewhere' / 'lungline-retrain-merged.log'}" in said["crontab"]
    )  # a folder that is there
    assert (tmp_path / "elsewhere").is_dir()
    assert said["notes"][0].startswith("MLFLOW_TRACKING_URI holds a password")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["list", "--json"], 0, '"schedules": []'),
        (["remove", "nightly"], 2, "there is no 'nightly' to remove"),
        (["quickstart", "nightly", "--cron", "@daily"], 2, "only `lungline schedule remove` takes a name"),
        (["quickstart", "--cron", "@daily", "--for", "monitor", "--stack", "local"], 2, "runs on no other stack"),
    ],
)
def test_list_and_remove_are_words_too(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    ran = subprocess.run(
        [Path(sys.executable).with_name("lungline"), "schedule", *words],
        capture_output=True,
        text=True,
        env={**os.environ, "LUNGLINE_HOME": str(tmp_path / "home"), "HOME": str(tmp_path)},
        timeout=60,
    )
    assert ran.returncode == code, ran.stderr
    assert said in ran.stdout + ran.stderr
