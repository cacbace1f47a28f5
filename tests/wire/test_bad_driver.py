# SPDX-License-Identifier: BSD-3-Clause
"""
How far a driver that crashes or hangs in a callback reaches: docs/drivers.md. The driver is
umdev-baddev.c. What becomes of pins and windows that a driver keeps is in test_pins.py and
test_dma_unmap.py.
"""

import errno
import signal
import struct
import time

import pytest
import vfiouser as vu
from control import Control
from server import Server
from vfiouser import BAR0, Disconnected

REG_CRASH, REG_HANG, REG_BEAT = 0x00, 0x04, 0x08
HANG_S = 2.0


@pytest.fixture
def start():
    """Starts servers, of which none outlives the test."""
    servers = []

    def start(*arguments, **options):
        servers.append(Server("baddev", *arguments, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


class Hang:
    """The client's device hangs in a callback."""

    def __init__(self, client, seconds=HANG_S):
        self.end = time.monotonic() + seconds
        client.post_write(BAR0, REG_HANG, struct.pack("=I", int(seconds * 1000)))
        client.wait_taken()

    def goes_on(self):
        return time.monotonic() < self.end


def crash(client):
    with pytest.raises(Disconnected):
        client.write32(BAR0, REG_CRASH, 1)


def check_alive(client):
    client.write32(BAR0, REG_BEAT, 7)
    assert client.read32(BAR0, REG_BEAT) == 7


def open_error(server):
    """What the server says to one more client."""
    with server.client() as client:
        return client.try_call(vu.VERSION, vu.version_body()).errno


def test_crash_ends_its_process_and_no_other(start):
    other, bad = start(), start()
    with other.negotiated() as neighbour, bad.negotiated() as client:
        crash(client)
        assert bad.process.wait(10) == -signal.SIGABRT
        check_alive(neighbour)


def test_crash_takes_all_devices_of_its_process(start):
    server = start(devices=2)
    with server.negotiated(0) as client, server.negotiated(1) as neighbour:
        crash(client)
        neighbour.expect_closed()


def test_socket_of_the_dead_is_replaced(start):
    bad = start()
    with bad.negotiated() as client:
        crash(client)
    bad.process.wait(10)
    bad.start_again()
    with bad.negotiated() as client:
        check_alive(client)


def test_hang_is_its_device_s_alone(start):
    server = start(devices=2)
    with server.negotiated(0) as client, server.negotiated(1) as neighbour:
        hang = Hang(client)
        check_alive(neighbour)
        assert hang.goes_on()
        check_alive(client)
        assert not hang.goes_on()


def test_next_client_is_told_at_once(start):
    server = start()
    with server.negotiated() as client:
        hang = Hang(client)
        assert open_error(server) == errno.EBUSY
        assert hang.goes_on()


def test_device_stays_busy_when_the_client_has_gone(start):
    """The next one waits two seconds for the end of it, no longer."""
    server = start()
    with server.negotiated() as client:
        hang = Hang(client, 5.0)
    assert open_error(server) == errno.EBUSY
    assert hang.goes_on()
    with server.negotiated() as client:
        assert not hang.goes_on()
        check_alive(client)


def test_show_answers_meanwhile(start, tmp_path):
    server = start("--control", str(tmp_path / "control"))
    with server.negotiated() as client, Control(str(tmp_path / "control")) as control:
        hang = Hang(client)
        assert control.ask("show")["result"]["devices"][0]["connected"] is True
        assert hang.goes_on()


def test_screenshot_waits_and_show_does_not(start, tmp_path):
    server = start("--control", str(tmp_path / "control"))
    with server.negotiated() as client, Control(str(tmp_path / "control")) as control:
        hang = Hang(client)
        control.send(b'{"command": "screenshot"}\n')
        with Control(str(tmp_path / "control")) as other:
            other.ask("show")
            assert hang.goes_on()
        control.answer()
        assert not hang.goes_on()


def test_removal_waits_for_the_callback(start):
    server = start()
    with server.negotiated() as client:
        hang = Hang(client)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        assert not hang.goes_on()
