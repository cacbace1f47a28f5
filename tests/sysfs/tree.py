# SPDX-License-Identifier: BSD-3-Clause
"""A host with a management tree in a process of its own (treeserver.c), and what a test does with it."""

import contextlib
import ctypes
import errno
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

BUILD = Path(os.environ.get("UMDEV_BUILD_DIR") or Path(__file__).resolve().parents[2] / "build").resolve()
ALARMS = re.compile(r"(Address|Leak|Thread|UndefinedBehavior)Sanitizer|runtime error:|corrupted|double free")
TIMEOUT = 30
UUIDS = [f"{i:08x}-0000-4000-8000-00000000cafe" for i in range(64)]


def _die_with_parent():
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def unmount(path):
    subprocess.run(["umount", "-l", path], stderr=subprocess.DEVNULL, check=False)


def errno_of(call, *args, **kwargs):
    """The name of the errno a call fails with, "" if it succeeds."""
    try:
        call(*args, **kwargs)
    except OSError as e:
        return errno.errorcode[e.errno]
    return ""


def store(path, data, flags=os.O_WRONLY):
    """One write(2) of all the data; how much was taken."""
    fd = os.open(path, flags)
    try:
        return os.write(fd, data if isinstance(data, bytes) else data.encode())
    finally:
        os.close(fd)


def store_errno(path, data):
    return errno_of(store, path, data)


def text(path):
    return Path(path).read_text()


@functools.lru_cache
def mdevctl_of_trixie():
    """(the command, or None; why not)"""
    try:
        fetched = subprocess.run(
            [Path(__file__).resolve().parent / "fetch-mdevctl"], capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return None, "the archive does not answer"
    if fetched.returncode:
        return None, (fetched.stderr.strip() or "?").splitlines()[-1]
    return fetched.stdout.strip(), None


def wait_for(what, *args):
    """Until it is true."""
    deadline = time.monotonic() + TIMEOUT
    while not what(*args):
        assert time.monotonic() < deadline, (what, args)
        time.sleep(0.01)


class Background(threading.Thread):
    """A call beside the test, which has its result, or what it raised, by result()."""

    def __init__(self, call, *args):
        super().__init__(daemon=True)
        self.call, self.args = call, args
        self.value = self.raised = None
        self.start()

    def run(self):
        try:
            self.value = self.call(*self.args)
        except Exception as e:
            self.raised = e

    def result(self):
        self.join(TIMEOUT)
        assert not self.is_alive()
        if self.raised:
            raise self.raised
        return self.value


class Hold:
    """What treedev's parameter `hold` names: what is slow goes on when it is let go."""

    def __init__(self, path):
        self.path = path

    def begin(self):
        self.path.touch()

    def wait_inside(self, count):
        wait_for(lambda: self.path.stat().st_size >= count)

    def let_go(self):
        self.path.unlink()


class CannotMount(Exception):
    """Why there is no tree here."""


class Tree:
    """Everybody may look into its folder, for tests that are somebody else."""

    def __init__(self, *parents, mount=True, prefix=(), owner=None):
        if not os.path.exists("/dev/fuse"):
            raise CannotMount("no /dev/fuse")
        self.folder = Path(tempfile.mkdtemp(prefix="umdev-sysfs-"))
        self.folder.chmod(0o755)
        self.sys = self.folder / "sys"
        self.sys.mkdir()
        if owner:
            os.chown(self.sys, owner.pw_uid, owner.pw_gid)
        self.lock = threading.Lock()
        self.stderr = open(self.folder / "stderr", "w+b")
        self.process = subprocess.Popen(
            [*prefix, BUILD / "tests/sysfs/treeserver", self.sys],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            text=True,
            bufsize=1,
            env=dict(os.environ, UMDEV_DRIVER_PATH=str(BUILD / "tests/drivers")),
            preexec_fn=_die_with_parent,
        )
        try:
            for parent in parents:
                self.do(f"parent {parent}")
            if mount:
                self.mount()
        except BaseException:
            self.kill()
            raise

    def mount(self):
        ret = self.ask("mount")["ret"]
        if ret in (-errno.EPERM, -errno.EACCES):
            raise CannotMount(f"no right to mount here: {self.said()}")
        assert ret == 0, self.said()

    def ask(self, line):
        with self.lock:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        assert answer, f"treeserver has ended:\n{self.said()}"
        return json.loads(answer)

    def do(self, line):
        answer = self.ask(line)
        assert answer["ret"] == 0, (line, answer)
        return answer

    def said(self):
        self.stderr.flush()
        return Path(self.stderr.name).read_text(errors="replace")

    # ---------------------------------------------------------------- places

    def parent(self, name):
        return self.sys / "devices/umdev" / name

    def type(self, parent, name):
        return self.parent(parent) / "mdev_supported_types" / f"treedev-{name}"

    def device(self, uuid):
        return (self.sys / "bus/mdev/devices" / uuid).resolve(strict=True)

    def create(self, uuid, parent="t0", type="small"):
        assert store(self.type(parent, type) / "create", uuid) == 36
        return self.device(uuid)

    def devices(self):
        return sorted(os.listdir(self.sys / "bus/mdev/devices"))

    # ---------------------------------------------------------------- the end

    def usage(self):
        answer = self.do("usage")
        return answer["fds"], answer["threads"]

    def wait_usage(self, wanted):
        """
        Of fds and threads: the kernel tells of closed files and joined threads a little later. So
        what is wanted is what there was before the first mount.
        """
        wait_for(lambda: self.usage() == wanted)

    def close(self):
        """In order: exit code 0, nothing from a sanitizer, no mount left."""
        try:
            self.process.stdin.close()
            assert self.process.wait(TIMEOUT) == 0, self.said()
            assert not ALARMS.search(self.said()), self.said()
            assert not os.path.ismount(self.sys)
        finally:
            self.kill()

    def kill(self):
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.stderr):
            with contextlib.suppress(OSError):
                pipe.close()
        unmount(self.sys)
        shutil.rmtree(self.folder, ignore_errors=True)
