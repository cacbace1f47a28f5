# SPDX-License-Identifier: BSD-3-Clause
"""
Fixtures. Each test runs with a guest of KVM's and with a guest that is a thread. Where there is
/dev/kvm, that it can't be used is a failure; where there is none, the first half is skipped.
"""

import os

import pytest
from tinyvm import TINYVM, Vm, show, wait_for

from server import LIBC, Server


def pytest_configure(config):
    if not TINYVM.exists():
        pytest.exit(f"no {TINYVM}: build it, or set UMDEV_BUILD_DIR", returncode=2)


@pytest.fixture(params=["kvm", "thread"])
def guest(request):
    """tinyvm's options for the kind of guest."""
    if request.param == "thread":
        return ["--no-kvm"]
    if not os.path.exists("/dev/kvm"):
        pytest.skip("no /dev/kvm: the guest was a thread only")
    return []


@pytest.fixture
def start(guest):
    """start(path, script…, options=…): a VM that is gone at the test's end."""
    vms = []

    def start(path, *scripts, options=()):
        vms.append(Vm(path, *scripts, options=[*guest, *options]))
        return vms[-1]

    yield start
    for vm in vms:
        vm.close()


def _userfaultfd():
    """Whether a client can have regions that fault at all here."""
    if os.access("/dev/userfaultfd", os.R_OK | os.W_OK):
        return True
    number = 323  # of the system call on x86-64
    fd = LIBC.syscall(number, os.O_CLOEXEC)
    if fd >= 0:
        os.close(fd)
    return fd >= 0


def _need_userfaultfd():
    if not _userfaultfd():
        pytest.skip("this user has no userfaultfd: no region faults")


def _served(*arguments, **options):
    server = Server(*arguments, **options)
    try:
        yield server
        if server.alive():
            server.check()
            server.stop()
    finally:
        server.kill()


def _controlled(folder, *arguments):
    """A server with one device; its control socket is server.control."""
    control = str(folder / "control")
    for server in _served(*arguments, "--control", control):
        server.control = control
        # The control socket comes after the device's: only now all is there that stays.
        wait_for(lambda: os.path.exists(control), "no control socket")
        show(control)
        server.baseline = server._settled()
        yield server


@pytest.fixture
def server(tmp_path):
    """A server with one faultdev."""
    _need_userfaultfd()
    yield from _controlled(tmp_path, "faultdev")


@pytest.fixture
def two_devices():
    """One process that serves two faultdevs of a parent."""
    _need_userfaultfd()
    yield from _served("faultdev", devices=2)


@pytest.fixture
def vgpu(tmp_path):
    """A server with one vgpu."""
    _need_userfaultfd()
    yield from _controlled(tmp_path, "vgpu", "vgpu-1", "vram=8M", "aperture=16M")


@pytest.fixture
def testdev(tmp_path):
    """A server with a device that has a doorbell and interrupts."""
    yield from _controlled(tmp_path, "testdev")
