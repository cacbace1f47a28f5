# SPDX-License-Identifier: BSD-3-Clause
"""Command lines that make no sense, and things that are not there: one clear line, and the exit code."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("UMDEV_BUILD_DIR") or TOP / "build").resolve()
UMDEV = BUILD / "src/cli/umdev"

FAILED, USAGE = 1, 2

# The arguments, the exit code, and words that the message must have: what was wrong, what would be right.
CASES = [
    ("", USAGE, ["Usage:"]),
    ("frob", USAGE, ["frob", "run", "probe"]),
    ("run", USAGE, ["driver"]),
    ("run vgpu", USAGE, ["--socket", "--run"]),
    ("run vgpu --socket", USAGE, ["--socket"]),
    ("run vgpu --frob", USAGE, ["--frob"]),
    ("run vgpu vgpu-1 vgpu-2 --socket s", USAGE, ["vgpu-1", "vgpu-2"]),
    ("run vgpu --socket s --mode 999", USAGE, ["999", "660"]),
    ("run vgpu --socket s --mode 0", USAGE, ["'0'"]),
    ("run nosuch --socket s", FAILED, ["nosuch", "UMDEV_DRIVER_PATH"]),
    ("run ./plain --socket s", FAILED, ["./plain", "not a driver"]),
    ("run ./missing.so --socket s", FAILED, ["./missing.so"]),
    ("run vgpu vgpu-3 --socket s", FAILED, ["vgpu-3", "vgpu-1", "vgpu-8"]),
    ("run vgpu vrm=1G --socket s", FAILED, ["vrm", "vram"]),
    ("run vgpu vram=12Q --socket s", FAILED, ["12Q", "64M"]),
    ("run vgpu vram=1 --socket s", FAILED, ["vram=1", "8M"]),
    ("run vgpu vram=-1 --socket s", FAILED, ["vram=-1"]),
    ("run vgpu vram= --socket s", FAILED, ["vram="]),
    ("run vgpu vram=64M vram=64M --socket s", FAILED, ["vram"]),
    ("run vgpu =5 --socket s", FAILED, ["=5"]),
    ("run vgpu --uuid xyz --socket s", FAILED, ["xyz", "36"]),
    ("run vgpu --socket plain", FAILED, ["plain", "no socket"]),
    ("run vgpu --socket live", FAILED, ["live", "in use"]),
    ("run vgpu --socket missing/s", FAILED, ["missing/s", "No such file"]),
    ("run vgpu --socket " + "x" * 200, FAILED, ["200", "107"]),
    ("probe", USAGE, ["socket"]),
    ("probe missing", FAILED, ["missing"]),
    ("probe plain", FAILED, ["plain", "not a socket"]),
    ("demo plain", FAILED, ["plain", "PNG"]),
    ("demo missing.png", FAILED, ["missing.png"]),
    ("demo -o missing", FAILED, ["missing"]),
    ("demo -o plain", FAILED, ["plain", "folder"]),
    ("demo a b", USAGE, ["'a'", "'b'"]),
    ("bench nosuch", USAGE, ["nosuch"]),
]


@pytest.fixture
def folder(tmp_path):
    """With a plain file and a live socket in it."""
    (tmp_path / "plain").write_text("nothing\n")
    with socket.socket(socket.AF_UNIX) as live:
        here = os.getcwd()
        os.chdir(tmp_path)
        try:
            live.bind("live")
        finally:
            os.chdir(here)
        live.listen()
        yield tmp_path


@pytest.mark.parametrize("arguments, code, words", CASES, ids=[case[0][:40] for case in CASES])
def test_message_and_exit_code(folder, arguments, code, words):
    result = subprocess.run(
        [UMDEV, *arguments.split()], cwd=folder, timeout=60,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )
    lines = result.stderr.splitlines()
    assert result.returncode == code, result.stderr
    assert all(word in result.stderr for word in words), result.stderr
    assert result.stdout == ""
    if arguments:
        assert lines[0].startswith("umdev")
        assert len(lines) == 1 or lines[1].startswith("Try 'umdev"), result.stderr


def test_exit_code_is_the_commands(tmp_path):
    for command, code in (("exit 7", 7), ("true", 0), ("kill -9 $$", 128 + signal.SIGKILL), ("nosuch", 127)):
        result = subprocess.run([UMDEV, "run", "vgpu", "vram=8M", "--run", command], cwd=tmp_path, timeout=60,
                                stderr=subprocess.DEVNULL)
        assert result.returncode == code


def test_captive_environment_and_nothing_left(tmp_path):
    """The command finds its device; socket and folder are gone afterwards."""
    command = 'test -S "$UMDEV_SOCKET" && echo "$UMDEV_SOCKET" && echo "$UMDEV_UUID" && echo "$UMDEV_QEMU_DEVICE"'
    result = subprocess.run([UMDEV, "run", "vgpu", "vram=8M", "--run", command], cwd=tmp_path, timeout=60,
                            check=True, stdout=subprocess.PIPE, text=True)
    path, uuid, device = result.stdout.splitlines()
    assert len(uuid) == 36 and f'"{path}"' in device and "vfio-user-pci" in device
    assert not Path(path).exists() and not Path(path).parent.exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_it_cleanly(tmp_path, number):
    path = tmp_path / "s"
    with subprocess.Popen([UMDEV, "run", "vgpu", "vram=8M", "--socket", path], stdout=subprocess.DEVNULL) as process:
        while not path.exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(60) == 0
    assert not path.exists()


def test_dead_socket_is_replaced(tmp_path):
    path = tmp_path / "s"
    for _ in range(2):
        with subprocess.Popen([UMDEV, "run", "vgpu", "vram=8M", "--socket", path], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline()  # it is there once it says so
            process.kill()
    assert path.exists()
