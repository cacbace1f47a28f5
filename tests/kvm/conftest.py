# SPDX-License-Identifier: BSD-3-Clause
"""
Fixtures. Each test runs with a guest of KVM's and with a guest that is a thread. Where there is
/dev/kvm, that it can't be used is a failure; where there is none, the first half is skipped.
"""

import os

import pytest
from tinyvm import TINYVM, Vm

from server import Server


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


def _served(*arguments, **options):
    server = Server(*arguments, **options)
    try:
        yield server
        if server.alive():
            server.check()
            server.stop()
    finally:
        server.kill()


@pytest.fixture
def server(tmp_path):
    """A server with one faultdev; its control socket is server.control."""
    control = str(tmp_path / "control")
    for server in _served("faultdev", "--control", control):
        server.control = control
        yield server


@pytest.fixture
def two_devices():
    """One process that serves two faultdevs of a parent."""
    yield from _served("faultdev", devices=2)


@pytest.fixture
def testdev():
    """A server with a device that has a doorbell and interrupts."""
    yield from _served("testdev")
