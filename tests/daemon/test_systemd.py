# SPDX-License-Identifier: BSD-3-Clause
"""What systemd and the daemon tell each other, and the units."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from control import Control
from daemon import TIMEOUT, UMDEV, Daemon, environment, umdev, wait_for
from server import BUILD_DIR

TOP = Path(__file__).resolve().parents[2]


class Notified:
    """A NOTIFY_SOCKET, and what came there."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(TIMEOUT)

    def until(self, line):
        """All lines up to this one."""
        seen = []
        while line not in seen:
            seen += self.socket.recv(4096).decode().splitlines()
        return seen


def test_notify(folder, start):
    notified = Notified(folder / "notify")
    daemon = start("testdev", "plaindev,isolate=yes", env=environment(NOTIFY_SOCKET=str(folder / "notify")))
    assert "READY=1" in notified.until("READY=1")
    uuid, _ = daemon.create("testdev-1")
    notified.until("STATUS=2 parents, 1 device")
    daemon.create("testdev-1")
    notified.until("STATUS=2 parents, 2 devices")
    daemon.output("remove", uuid)
    notified.until("STATUS=2 parents, 1 device")
    daemon.process.terminate()
    notified.until("STOPPING=1")
    assert daemon.process.wait(TIMEOUT) == 0
    notified.socket.close()


def with_fds(count):
    """A command that gives fds 3 and up to the daemon as systemd does."""
    return ["sh", "-c", f'LISTEN_FDS={count} LISTEN_PID=$$ exec "$@"', "sh"]


def begin_activated(folder, listeners, *words):
    def dup():
        # From above, so that none is overwritten before it is copied.
        high = [os.dup2(listener.fileno(), 100 + i) for i, listener in enumerate(listeners)]
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i)

    return subprocess.Popen(
        [*with_fds(len(listeners)), UMDEV, "daemon", "--dir", folder / "run", *words], env=environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        close_fds=False, preexec_fn=dup,
    )


def test_activation(folder):
    """A request that came before there was a daemon is answered; the socket stays behind."""
    path = str(folder / "elsewhere")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        for _ in range(2):
            with Control(path) as control:
                control.send(b'{"command": "types"}\n')
                process = begin_activated(folder, [listener], "--parent", "testdev")
                assert control.answer()["result"]["types"][0]["name"] == "testdev-1"
                uuid = control.request({"command": "create", "type": "testdev-1"})["result"]["uuid"]
                assert uuid in umdev("list", "--control", path).stdout
                assert not (folder / "run/control").exists()
                process.terminate()
                assert process.wait(TIMEOUT) == 0, process.stderr.read()
                assert control.answer() is None
            process.stdout.close()
            process.stderr.close()
            assert os.path.exists(path) and not (folder / "run").exists()


def test_activation_with_something_else(folder):
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other, socket.socket() as tcp:
        one.bind(str(folder / "one"))
        one.listen()
        for sockets, words in (([one, other], "2 sockets"), ([other], "no listening"), ([tcp], "no listening")):
            process = begin_activated(folder, sockets, "--parent", "testdev")
            _, told = process.communicate(timeout=TIMEOUT)
            assert process.returncode == 1 and words in told
            assert not (folder / "run").exists()


def installed(folder, *options):
    """The files that meson would install, by what they are called."""
    subprocess.run(
        ["meson", "install", "-C", BUILD_DIR, "--no-rebuild", "--quiet", "--destdir", folder],
        check=True, stdin=subprocess.DEVNULL, capture_output=True,
    )
    return {path.name: path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_units(folder):
    """They are installed where the build says, and systemd has nothing to say against them."""
    files = installed(folder / "root")
    if "umdev.service" not in files:
        pytest.skip("the build installs no units")
    units = folder / "units"
    units.mkdir()
    for name in ("umdev.service", "umdev.socket"):
        text = files[name].read_text()
        # The program is not where it will be.
        assert "/umdev daemon" in text or name == "umdev.socket"
        text = "\n".join(
            f"ExecStart={UMDEV} daemon $UMDEV_OPTIONS" if line.startswith("ExecStart=") else line
            for line in text.splitlines()
        )
        (units / name).write_text(text + "\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "umdev.service", "umdev.socket"],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{units}:"}, capture_output=True, text=True, timeout=TIMEOUT * 2,
    )
    told = [line for line in done.stderr.splitlines() if "umdev" in line]
    assert not told, told


def test_options_of_the_service(folder):
    """What the unit runs where nobody has configured anything works."""
    text = (TOP / "systemd/umdev.service.in").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("Environment=")]
    options = line.split("=", 2)[2].strip('"').split()
    env = environment(UMDEV_DRIVER_PATH=str(BUILD_DIR / "drivers/vgpu"))
    daemon = Daemon(folder, words=options, env=env)
    try:
        wait_for(lambda: daemon.json("types"), "no types")
    finally:
        daemon.end()
