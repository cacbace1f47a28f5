# SPDX-License-Identifier: BSD-3-Clause
"""`umdev demo`, whole: what it says, what it leaves, and that one VM's end is nobody else's."""

import os
import re
import subprocess
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("UMDEV_BUILD_DIR") or TOP / "build").resolve()


def test_demo(tmp_path):
    done = subprocess.run(
        [BUILD / "src/cli/umdev", "demo", "--output", tmp_path],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("\ndemo: all is well\n")
    assert "FAILED" not in done.stdout and done.stdout.count("  ok  ") == 9
    for n in (1, 2):
        assert (tmp_path / f"vm{n}.png").read_bytes()[:4] == b"\x89PNG"
    # A line for each VM: faults resolved, pages refused, pages revoked.
    table = done.stdout.split("faults resolved pages refused pages revoked\n")[1].split("\n\n")[0]
    rows = [re.fullmatch(r"  VM (\d)  vgpu-\d +(\d+) +(\d+) +(\d+)", row) for row in table.splitlines()]
    assert [row[1] for row in rows] == ["1", "2", "3"]
    assert [row[3] for row in rows] == ["0", "0", "1"]
    assert "VM 3 was refused the page and stopped by SIGBUS" in done.stdout
    assert re.search(r"BAR4\+0x3e8000: read refused: Bad address", done.stderr)
