# SPDX-License-Identifier: BSD-3-Clause
"""
Fixtures. A module's tests share one server process, but each finds it at rest and must leave it so:
alive, no fd, thread or mapping more than before, nothing from a sanitizer. After a failed test the
next one gets a new server.
"""

import contextlib

import faultclient
import pytest
import testdev
from server import BUILD_DIR, Server


def pytest_configure(config):
    if not (BUILD_DIR / "src/cli/umdev").exists():
        pytest.exit(f"no umdev in {BUILD_DIR}: build it, or set UMDEV_BUILD_DIR", returncode=2)


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if outcome.get_result().failed:
        item.test_failed = True


class _Shared:
    """The module's server: made at first use, replaced after a failure."""

    def __init__(self, **options):
        self.options = options
        self.server = None

    def get(self):
        if self.server is None:
            self.server = Server(**self.options)
        return self.server

    def drop(self):
        server, self.server = self.server, None
        if server:
            server.kill()

    def stop(self):
        server, self.server = self.server, None
        if server:
            server.stop()

    @contextlib.contextmanager
    def checked(self, request):
        server = self.get()
        try:
            yield server
            if not getattr(request.node, "test_failed", False):
                server.check()
        except BaseException:
            self.drop()
            raise
        if getattr(request.node, "test_failed", False):
            print(f"--- the server's stderr\n{server.stderr()}")
            self.drop()


def _shared(**options):
    @pytest.fixture(scope="module")
    def fixture():
        shared = _Shared(**options)
        yield shared
        shared.stop()

    return fixture


_testdev = _shared()
_plaindev = _shared(driver="plaindev")
_holddev = _shared(driver="holddev")
_capsdev = _shared(driver="capsdev")
_faultdev = _shared(driver="faultdev")
_two_devices = _shared(devices=2)
_two_faultdevs = _shared(driver="faultdev", devices=2)


@pytest.fixture
def server(request, _testdev):
    """A server with one testdev."""
    with _testdev.checked(request) as server:
        yield server


@pytest.fixture
def client(server):
    """A client of it, negotiated as QEMU does."""
    with server.negotiated() as client:
        yield client


@pytest.fixture
def dma_client(client):
    """The same, on a device that may be bus master."""
    testdev.enable_bus_master(client)
    return client


@pytest.fixture
def plain_client(request, _plaindev):
    """A client of a device with one BAR and no interrupts."""
    with _plaindev.checked(request) as server, server.negotiated() as client:
        yield client


@pytest.fixture
def hold_client(request, _holddev):
    """A client of a device that holds windows into its memory."""
    with _holddev.checked(request) as server, server.negotiated() as client:
        testdev.enable_bus_master(client)
        yield client


@pytest.fixture
def caps_server(request, _capsdev):
    """A server with one capsdev: device-specific regions, every capability, failures on demand."""
    with _capsdev.checked(request) as server:
        yield server


@pytest.fixture
def caps_client(caps_server):
    """A client of it."""
    with caps_server.negotiated() as client:
        yield client


@pytest.fixture
def two_devices(request, _two_devices):
    """One process that serves two testdevs."""
    with _two_devices.checked(request) as server:
        yield server


@pytest.fixture
def fault_server(request, _faultdev):
    """A server with one faultdev: regions that fault."""
    with _faultdev.checked(request) as server:
        yield server


@pytest.fixture
def fault_client(fault_server):
    """A client of it that knows of faults, without a channel."""
    with fault_server.negotiated(text=faultclient.CAPABILITIES) as client:
        yield client


@pytest.fixture
def channel(fault_client):
    """Its channel."""
    with faultclient.Channel(fault_client) as channel:
        yield channel


@pytest.fixture
def old_client(fault_server):
    """A client that has never heard of faults, as QEMU's."""
    with fault_server.negotiated() as client:
        yield client


@pytest.fixture
def two_faultdevs(request, _two_faultdevs):
    """One process that serves two faultdevs."""
    with _two_faultdevs.checked(request) as server:
        yield server


@pytest.fixture
def own_server():
    """A server for this test alone, which may stop it."""
    server = Server()
    try:
        yield server
    finally:
        server.kill()
