# SPDX-License-Identifier: BSD-3-Clause
"""The daemon's tests share the wire tests' clients."""

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "wire"))

import pytest  # noqa: E402
from daemon import Daemon  # noqa: E402


@pytest.fixture
def folder():
    """A new one; its path leaves room for a device's socket, unlike tmp_path's."""
    path = Path(tempfile.mkdtemp(prefix="umdev-d-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def start(folder):
    """start(PARENT…, **options): a daemon in a run directory below folder; all stop at the end."""
    daemons = []

    def begin(*parents, **options):
        daemons.append(Daemon(folder, *parents, **options))
        return daemons[-1]

    yield begin
    for daemon in daemons:
        daemon.end()
