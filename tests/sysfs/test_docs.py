# SPDX-License-Identifier: BSD-3-Clause
"""docs/tree.md is true: its commands, in order, print what it says."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tree import BUILD, TIMEOUT, mdevctl_of_trixie, unmount

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "docs"))

from blocks import blocks, commands, run  # noqa: E402

PAGE = HERE.parents[1] / "docs/tree.md"


@contextlib.contextmanager
def daemon(command, environment):
    """The page's first command, until the end of the page."""
    process = subprocess.Popen(["bash", "-c", f"exec {command.removesuffix(' &')}"], env=environment)
    try:
        deadline = time.monotonic() + TIMEOUT
        while not os.path.exists(f"{environment['ROOT']}/sys/class/mdev_bus/gpu0"):
            assert process.poll() is None and time.monotonic() < deadline, "the daemon did not start"
            time.sleep(0.02)
        yield
        process.terminate()
        assert process.wait(TIMEOUT) == 0
    finally:
        process.kill()
        process.wait()
        unmount(f"{environment['ROOT']}/sys")


def test_every_command(make_tree):
    if os.geteuid() != 0:
        pytest.skip("the page is written for root")
    # Skips where nothing can be mounted; and has a folder.
    root = make_tree().folder / "root"
    root.mkdir()
    trixie, why_not = mdevctl_of_trixie()
    newer = trixie and os.path.dirname(trixie)
    plain = f"{BUILD}:{os.environ['PATH']}"
    environment = dict(os.environ, ROOT=str(root), RUNTIME_DIRECTORY=str(root / "run"), LC_ALL="C", PATH=plain)
    ran = 0
    with contextlib.ExitStack() as stack:
        for line, kind, text in blocks(PAGE):
            assert kind in ("console", "console bookworm"), f"docs/tree.md, line {line}: a block of no kind"
            old = kind.endswith("bookworm")
            if "mdevctl" in text and (not newer or old and not shutil.which("mdevctl")):
                continue
            path = plain if old or not newer else f"{newer}:{plain}"
            for command, expected in commands(text):
                ran += 1
                if command.startswith("umdev daemon "):
                    stack.enter_context(daemon(command, environment))
                    continue
                # What mdevctl prints ends with an empty line, or with none at all.
                if "mdevctl" in command:
                    command = f"{{ {command}; }} | sed '/^$/d'"
                run(command, expected, root, environment | {"PATH": path}, line)
    assert ran >= (18 if newer else 10)
    if not newer:
        pytest.skip(f"no mdevctl of trixie, so that its commands were not run: {why_not}")
