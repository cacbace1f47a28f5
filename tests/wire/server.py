# SPDX-License-Identifier: BSD-3-Clause
"""A real server in a process of its own, and what is known of its state from outside."""

import contextlib
import ctypes
import errno
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from vfiouser import QEMU_CAPABILITIES, TIMEOUT, Client, Disconnected, VfioError

BUILD_DIR = Path(
    os.environ.get("UMDEV_BUILD_DIR") or Path(__file__).resolve().parents[2] / "build"
).resolve()

LIBC = ctypes.CDLL(None)

# What a sanitizer or the C library prints before it gives up on a process.
ALARMS = re.compile(
    r"(Address|Leak|Thread|UndefinedBehavior|Memory)Sanitizer|runtime error:"
    r"|Assertion .* failed|\*\*\* .* \*\*\*|stack smashing|corrupted|double free"
)


def _is_shadow(line):
    """A sanitizer's shadow memory, in /proc/PID/maps: nobody else maps a tebibyte."""
    first, end = line.split(maxsplit=1)[0].split("-")
    return int(end, 16) - int(first, 16) >= 1 << 40


class Counts:
    """Fds, threads, and mappings of files that clients gave, of a process."""

    def __init__(self, pid):
        self.fds = len(os.listdir(f"/proc/{pid}/fd"))
        self.threads = len(os.listdir(f"/proc/{pid}/task"))
        maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
        # A sanitizer's runtime maps as it goes: nothing can be said of the number then.
        self.maps = 0 if any(map(_is_shadow, maps)) else len(maps)
        self.client_maps = sum("/memfd:wire-test" in line for line in maps)

    def __repr__(self):
        return (
            f"{self.fds} fds, {self.threads} threads, "
            f"{self.maps} maps ({self.client_maps} of clients' files)"
        )

    def at_rest(self, baseline):
        """As the baseline. The C library keeps some stacks and arenas of threads that are gone, so
        mappings in general may be a few more; those of a client's memory may not."""
        return (
            self.fds == baseline.fds
            and self.threads == baseline.threads
            and self.client_maps == 0
            and self.maps <= baseline.maps + 48
        )


def _die_with_parent():
    """A test run that is killed leaves no server behind."""
    pr_set_pdeathsig = 1
    LIBC.prctl(pr_set_pdeathsig, signal.SIGKILL)


class Server:
    """
    `umdev run DRIVER [argument…]`, or with several devices in one process `testhost DRIVER`.
    Ready when the constructor returns: the socket is there and a client has come and gone.
    """

    def __init__(self, driver="testdev", *arguments, devices=1):
        self.dir = tempfile.mkdtemp(prefix="umdev-wire-")
        self.paths = [f"{self.dir}/{i}.sock" for i in range(devices)]
        self.path = self.paths[0]
        self.stderr_path = f"{self.dir}/stderr"
        if devices == 1:
            umdev = BUILD_DIR / "src/cli/umdev"
            command = [umdev, "run", driver, *arguments, "--socket", self.path]
        else:
            command = [BUILD_DIR / "tests/drivers/testhost", driver, *self.paths]
        self.words = command
        self._start()

    def _start(self):
        environment = dict(os.environ)
        environment.setdefault("UMDEV_DRIVER_PATH", str(BUILD_DIR / "tests/drivers"))
        with open(self.stderr_path, "wb") as stderr:
            self.process = subprocess.Popen(
                self.words,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                env=environment,
                preexec_fn=_die_with_parent,
            )
        self.pid = self.process.pid
        try:
            self._wait_ready()
        except BaseException:
            self.kill()
            raise

    def _wait_ready(self):
        deadline = time.monotonic() + TIMEOUT
        while not all(os.path.exists(path) for path in self.paths):
            assert self.process.poll() is None, f"server did not start:\n{self.stderr()}"
            assert time.monotonic() < deadline, "server did not make its socket"
            time.sleep(0.005)
        # Baseline after a first client: things that are made once and kept exist from now on.
        for path in self.paths:
            with self._first_client(path, deadline) as client:
                client.negotiate()
        self.baseline = self._settled()

    @staticmethod
    def _first_client(path, deadline):
        """A socket can be seen a moment before its owner listens, one of a dead owner till it is
        replaced."""
        while True:
            try:
                return Client(path)
            except (ConnectionRefusedError, FileNotFoundError):
                assert time.monotonic() < deadline, "nobody listens"
                time.sleep(0.001)

    def _settled(self):
        """The counts once they have stopped falling after the last client left."""
        deadline = time.monotonic() + TIMEOUT
        least, since = Counts(self.pid), time.monotonic()
        while time.monotonic() < min(deadline, since + 0.2):
            time.sleep(0.01)
            now = Counts(self.pid)
            if (now.fds, now.threads) < (least.fds, least.threads):
                least, since = now, time.monotonic()
        return least

    def start_again(self):
        """The same command at the same sockets, after a death."""
        assert not self.alive()
        self._start()

    def stderr(self):
        """All of it up to a sanitizer's report, the end of it otherwise."""
        text = Path(self.stderr_path).read_text(errors="replace")
        alarm = ALARMS.search(text)
        return text[max(0, alarm.start() - 1000) :][:20000] if alarm else text[-4000:]

    def alive(self):
        return self.process.poll() is None

    def client(self, device=0):
        """A connected client that has said nothing."""
        return Client(self.paths[device])

    def negotiated(self, device=0, text=QEMU_CAPABILITIES):
        """A client that has its device. Those before may take a moment to be gone: until then the
        device is busy, or the seats for clients that have not said VERSION are taken."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            client = self.client(device)
            try:
                client.negotiate(text=text)
                return client
            except (Disconnected, VfioError) as e:
                client.close()
                busy = isinstance(e, Disconnected) or e.errno == errno.EBUSY
                if not busy or not self.alive() or time.monotonic() > deadline:
                    raise
            time.sleep(0.005)

    def check(self):
        """Alive, unharmed, and holding nothing of the clients that have left."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            assert self.alive(), f"server died, {self.process.returncode}:\n{self.stderr()}"
            counts = Counts(self.pid)
            if counts.at_rest(self.baseline):
                break
            assert time.monotonic() < deadline, f"leak: {counts}; before: {self.baseline}"
            time.sleep(0.005)
        self.check_output()

    def check_output(self):
        alarm = ALARMS.search(self.stderr())
        assert not alarm, f"server's stderr:\n{self.stderr()}"

    def stop(self):
        """SIGTERM must end it, with exit code 0, whatever clients do."""
        try:
            if self.alive():
                self.process.send_signal(signal.SIGTERM)
            code = self.process.wait(TIMEOUT)
            assert code == 0, f"exit code {code}:\n{self.stderr()}"
            self.check_output()
        finally:
            self.kill()

    def kill(self):
        if self.alive():
            self.process.kill()
        self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


@contextlib.contextmanager
def served_by(driver, *arguments, devices=1):
    """A server of one's own, which is at rest in the end, and stops."""
    server = Server(driver, *arguments, devices=devices)
    try:
        yield server
        server.check()
        server.stop()
    finally:
        server.kill()
