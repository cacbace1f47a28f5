# SPDX-License-Identifier: BSD-3-Clause
"""docs/tree.md is true: its commands, in order, print what it says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "docs"))

from blocks import blocks, commands, run  # noqa: E402

PAGE = HERE.parents[1] / "docs/tree.md"
DAEMON = re.compile(r"umdev daemon --parent vgpu,name=gpu0,vram=64M --sysfs \$ROOT/sys &")


def mdevctl_of_trixie():
    """The folder of one that knows MDEVCTL_ENV_ROOT; None: it can't be had here."""
    fetched = subprocess.run([HERE / "fetch-mdevctl"], stdout=subprocess.PIPE, text=True, check=False)
    return None if fetched.returncode else os.path.dirname(fetched.stdout.strip())


def test_every_command(make_tree):
    if os.geteuid() != 0:
        pytest.skip("the page is written for root")
    # What the first command starts, by the server of these tests.
    tree = make_tree("gpu0 vgpu vram=64M")
    newer = mdevctl_of_trixie()
    environment = dict(os.environ, ROOT=str(tree.folder), LC_ALL="C")
    ran = started = 0
    for line, kind, text in blocks(PAGE):
        assert kind in ("console", "console bookworm"), f"docs/tree.md, line {line}: a block of no kind"
        old = kind.endswith("bookworm")
        path = os.environ["PATH"] if old or not newer else f"{newer}:{os.environ['PATH']}"
        for command, expected in commands(text):
            if DAEMON.fullmatch(command):
                started += 1
                continue
            if "mdevctl" in command and (not newer or old and not shutil.which("mdevctl")):
                continue
            # What mdevctl prints ends with an empty line, or with none at all.
            run(f"{{ {command}; }} | sed '/^$/d'" if "mdevctl" in command else command, expected,
                tree.folder, environment | {"PATH": path}, line)
            ran += 1
    assert started == 1 and ran >= 11
    if not newer:
        pytest.skip("no mdevctl of trixie: its commands were not run")
