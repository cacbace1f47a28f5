# SPDX-License-Identifier: BSD-3-Clause
"""A real `umdev daemon`, and the commands that talk to it."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import vfiouser as vu
from control import Control
from server import ALARMS, BUILD_DIR, _die_with_parent

UMDEV = BUILD_DIR / "src/cli/umdev"
TIMEOUT = vu.TIMEOUT
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# What a user may have set, and would change what is tested.
VARIABLES = (
    "UMDEV_DIR", "UMDEV_CONTROL", "RUNTIME_DIRECTORY", "STATE_DIRECTORY", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID",
)


def uuid_of(number):
    return f"00000000-0000-4000-8000-{number:012x}"


def environment(**more):
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    clean.setdefault("UMDEV_DRIVER_PATH", str(BUILD_DIR / "tests/drivers"))
    return {**clean, **more}


def umdev(*words, env=None, **options):
    """Run umdev with these words: the process, completed."""
    return subprocess.run(
        [UMDEV, *words], env=env or environment(), stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=TIMEOUT * 2, **options,
    )


def wait_for(what, message):
    deadline = time.monotonic() + TIMEOUT
    while True:
        found = what()
        if found:
            return found
        assert time.monotonic() < deadline, message
        time.sleep(0.005)


class Daemon:
    """Ready when the constructor returns."""

    def __init__(self, folder, *parents, state=False, words=(), env=None, ready=True, dir_option=True):
        self.dir = folder / "run"
        self.state = folder / "state"
        self.stderr_path = folder / "stderr"
        command = [UMDEV, "daemon", *words]
        for parent in parents:
            command += ["--parent", parent]
        if dir_option:
            command += ["--dir", self.dir]
        if state:
            command += ["--state", self.state]
        with open(self.stderr_path, "ab") as stderr:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, text=True,
                env=env or environment(), preexec_fn=_die_with_parent,
            )
        self.pid = self.process.pid
        if ready:
            line = self.process.stdout.readline()
            assert line == f"{self.dir}/control\n", f"{line}{self.stderr()}"

    def stderr(self):
        return self.stderr_path.read_text(errors="replace")

    # -------------------------------------------------------------- commands

    def command(self, *words):
        return umdev(*words, "--dir", str(self.dir))

    def output(self, *words):
        """What a command prints that must succeed."""
        done = self.command(*words)
        assert done.returncode == 0 and done.stderr == "", (words, done)
        return done.stdout

    def json(self, *words):
        return json.loads(self.output(*words, "--json"))

    def fails(self, *words):
        """The line that a command ends with that must fail."""
        done = self.command(*words)
        assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1, done
        return done.stderr

    def create(self, *words):
        """A device's (UUID, socket)."""
        uuid, path = self.output("create", *words).split()
        return uuid, path

    def uuids(self):
        return [device["uuid"] for device in self.json("list")]

    def control(self):
        return Control(f"{self.dir}/control")

    def client(self, uuid):
        """A negotiated client of a device."""
        client = vu.Client(f"{self.dir}/{uuid}/socket")
        client.negotiate()
        return client

    # -------------------------------------------------------------- ends

    def children(self):
        found = []
        for task in os.listdir(f"/proc/{self.pid}/task"):
            found += Path(f"/proc/{self.pid}/task/{task}/children").read_text().split()
        return sorted(map(int, found))

    def check(self):
        assert self.process.poll() is None, self.stderr()
        assert not ALARMS.search(self.stderr()), self.stderr()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self, number=signal.SIGTERM):
        """It ends cleanly, and nothing of its directory is left."""
        self.process.send_signal(number)
        assert self.process.wait(TIMEOUT) == 0, self.stderr()
        assert not ALARMS.search(self.stderr()), self.stderr()

    def end(self):
        """Whatever the test has left."""
        try:
            if self.process.poll() is None:
                self.terminate()
        finally:
            self.kill()
            self.process.stdout.close()
