# SPDX-License-Identifier: BSD-3-Clause
"""Completion in bash: a shell that sources it, and has it complete lines."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from daemon import UMDEV, environment, umdev, uuid_of

TOP = Path(__file__).resolve().parents[2]
SCRIPT = TOP / "completions/umdev.bash"

COMPLETE = """
set -u
source "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_umdev
printf '%s\\n' ${COMPREPLY[@]+"${COMPREPLY[@]}"}
"""


def complete(*words, folder=None):
    """What bash offers for the last of these words."""
    done = subprocess.run(
        ["bash", "--norc", "-c", COMPLETE, "bash", SCRIPT, "umdev", *words], cwd=folder,
        env=environment(PATH=f"{UMDEV.parent}:{os.environ['PATH']}"), capture_output=True, text=True, timeout=60,
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.split()


def commands():
    return re.findall(r"^  ([a-z]+) ", umdev("--help").stdout, re.M)


def test_commands():
    assert len(commands()) >= 14
    assert set(commands()) <= set(complete(""))
    assert complete("scr") == ["screenshot"]
    assert complete("nosuch") == []
    assert "create" in complete("help", "cr")


@pytest.mark.parametrize("command", commands())
def test_options(command):
    """Those that the command has, no more and no less."""
    told = umdev(command, "--help")
    if told.returncode != 0:
        pytest.skip("not built")
    shown = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", told.stdout, re.M))
    if not shown:  # they are in the first line
        shown = {"--help", *re.findall(r"--[a-z-]+", told.stdout.splitlines()[0])}
    assert set(complete(command, "--")) == shown


def test_what_a_daemon_has(start, folder):
    daemon = start("testdev,name=a", "plaindev,name=b")
    daemon.create("testdev-1", "--uuid", uuid_of(1))
    where = ["--dir", str(daemon.dir)]
    assert complete("create", *where, "") == ["plaindev-1", "testdev-1"]
    assert complete("create", *where, "te") == ["testdev-1"]
    assert complete("create", *where, "--parent", "") == ["a", "b"]
    for command in ("show", "stats", "remove", "cdi", "screenshot"):
        assert complete(command, *where, "0") == [uuid_of(1)]
    (folder / "picture.png").write_text("")
    assert complete("screenshot", *where, "pic", folder=folder) == ["picture.png"]


def test_without_a_daemon():
    assert complete("create", "--dir", "/nowhere", "") == []


def test_files(folder):
    (folder / "socket-one").write_text("")
    (folder / "folder").mkdir()
    assert complete("probe", "soc", folder=folder) == ["socket-one"]
    assert complete("run", "testdev", "--socket", "so", folder=folder) == ["socket-one"]
    assert complete("list", "--dir", "", folder=folder) == ["folder"]


def test_drivers():
    assert {"vgpu", "testdev", "plaindev"} <= set(complete("daemon", "--parent", ""))
    assert complete("run", "plain") == ["plaindev"]
