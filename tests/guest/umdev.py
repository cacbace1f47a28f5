# SPDX-License-Identifier: BSD-3-Clause
"""The process under test: `umdev run`, from the build in UMDEV_BUILD_DIR."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

BUILD_DIR = Path(
    os.environ.get("UMDEV_BUILD_DIR") or Path(__file__).resolve().parents[2] / "build"
).resolve()
UMDEV = BUILD_DIR / "src/cli/umdev"
TIMEOUT = 30

# What a sanitizer or the C library prints before it gives up on a process.
ALARMS = re.compile(
    r"(Address|Leak|Thread|UndefinedBehavior|Memory)Sanitizer|runtime error:"
    r"|Assertion .* failed|\*\*\* .* \*\*\*|stack smashing|corrupted|double free"
)


class Device:
    """`umdev run DRIVER [word…]`: one device at `socket`. Ready when the constructor returns."""

    def __init__(self, driver, *words):
        self.folder = Path(tempfile.mkdtemp(prefix="umdev-guest-"))
        self.socket = self.folder / "socket"
        self.log_path = self.folder / "log"
        command = [UMDEV, "run", driver, *words, "--verbose", "--verbose", "--socket", self.socket]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait_ready()
        except BaseException:
            self.clean()
            raise

    def _wait_ready(self):
        deadline = time.monotonic() + TIMEOUT
        while not self.socket.exists():
            alive = self.process.poll() is None
            assert alive and time.monotonic() < deadline, f"umdev did not start:\n{self.log()}"
            time.sleep(0.01)

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def descriptors(self):
        """{fd: what it is} of the process."""
        found = {}
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                found[int(name)] = os.readlink(f"/proc/{self.pid}/fd/{name}")
            except FileNotFoundError:
                pass
        return found

    def memory_object(self, name):
        """Read access to a memory object of the device, by its name: what the driver itself sees."""
        found = [fd for fd, target in self.descriptors().items() if re.search(rf"/memfd:.*{name}", target)]
        assert len(found) == 1, f"one object named {name}, please: {self.descriptors()}"
        return open(f"/proc/{self.pid}/fd/{found[0]}", "rb")

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def guest_mappings(self):
        """How many mappings of guests' RAM the process has."""
        return Path(f"/proc/{self.pid}/maps").read_text().count("/memfd:memory-backend-memfd")

    def check(self):
        """Alive, and nothing alarming in its log."""
        assert self.alive(), f"umdev died, {self.process.returncode}:\n{self.log()}"
        alarm = ALARMS.search(self.log())
        assert not alarm, f"umdev's log:\n{self.log()}"

    def stop(self):
        """SIGTERM must end it with exit code 0, whatever its client does."""
        self.check()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(TIMEOUT)
        assert code == 0, f"umdev ended with {code}:\n{self.log()}"
        alarm = ALARMS.search(self.log())
        assert not alarm, f"umdev's log:\n{self.log()}"

    def kill(self):
        """SIGKILL; idempotent."""
        if self.alive():
            self.process.kill()
        self.process.wait()

    def clean(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
