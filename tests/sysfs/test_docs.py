# SPDX-License-Identifier: BSD-3-Clause
"""docs/tree.md is true: its commands, in order, print what it says."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from tree import mdevctl_of_trixie

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "docs"))

from blocks import blocks, commands, run  # noqa: E402

PAGE = HERE.parents[1] / "docs/tree.md"
DAEMON = re.compile(r"umdev daemon --parent vgpu,name=gpu0,vram=64M --sysfs \$ROOT/sys &")


def test_every_command(make_tree):
    if os.geteuid() != 0:
        pytest.skip("the page is written for root")
    # What the first command starts, by the server of these tests.
    tree = make_tree("gpu0 vgpu vram=64M")
    path, why_not = mdevctl_of_trixie()
    newer = path and os.path.dirname(path)
    environment = dict(os.environ, ROOT=str(tree.folder), LC_ALL="C")
    ran = started = 0
    for line, kind, text in blocks(PAGE):
        assert kind in ("console", "console bookworm"), f"docs/tree.md, line {line}: a block of no kind"
        old = kind.endswith("bookworm")
        path = os.environ["PATH"] if old or not newer else f"{newer}:{os.environ['PATH']}"
        if "mdevctl" in text and (not newer or old and not shutil.which("mdevctl")):
            continue
        for command, expected in commands(text):
            if DAEMON.fullmatch(command):
                started += 1
                continue
            # What mdevctl prints ends with an empty line, or with none at all.
            run(f"{{ {command}; }} | sed '/^$/d'" if "mdevctl" in command else command, expected,
                tree.folder, environment | {"PATH": path}, line)
            ran += 1
    assert started == 1 and ran >= (17 if newer else 9)
    if not newer:
        pytest.skip(f"no mdevctl of trixie, so that its commands were not run: {why_not}")
