# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_GET_REGION_IO_FDS, and ringing what it gives."""

import errno
import fcntl
import json
import os
import select
import struct
import threading

import pytest
import testdev as td
import vfiouser as vu
from vfiouser import eventfds, signalled, wait_signalled

MATCH = vu.IOEVENTFD_DATAMATCH

# (offset, size, flags, datamatch), in the order that the driver's description promises
DOORBELLS = {
    vu.BAR1: [
        (td.REG_BELL, 4, 0, 0),
        (td.REG_BELL_MATCH, 4, MATCH, td.BELL_MATCH),
    ],
    vu.BAR2: [
        (0x2000, 2, 0, 0),
        (0x1000, 4, MATCH, 5),
        (0x1000, 4, MATCH, 0x01020304),
        (0x1FFFF8, 8, MATCH, 0xFFFFFFFFFFFFFFFF),
    ],
    vu.BAR5: [(0x10, 2, vu.IOEVENTFD_PIO, 0)],
}


class IoFds:
    """A reply, taken apart: sub-regions as (offset, size, flags, datamatch), and their fds."""

    def __init__(self, reply):
        self.argsz, self.flags, self.index, self.count = struct.unpack_from("=IIII", reply.body)
        self.raw = reply.body
        self.all_fds = reply.fds
        self.doorbells, self.fds = [], []
        for at in range(16, len(self.raw), 40):
            offset, size, fd_index, kind, flags, padding, match = struct.unpack_from(
                "=QQIIIIQ", self.raw, at
            )
            assert (kind, padding) == (vu.IOEVENTFD, 0)
            self.doorbells.append((offset, size, flags, match))
            self.fds.append(reply.fds[fd_index])


def io_fds(client, index, argsz=4096):
    return IoFds(client.call(vu.DEVICE_GET_REGION_IO_FDS, vu.io_fds_body(index, argsz)))


def ring(fd, times=1):
    os.eventfd_write(fd, times)


def bells(client):
    return td.count(client, td.COUNT_BELL)


@pytest.mark.parametrize("index", DOORBELLS)
def test_every_field(client, index):
    got = io_fds(client, index)
    count = len(DOORBELLS[index])
    assert (got.flags, got.index, got.count) == (0, index, count)
    assert got.argsz == len(got.raw) == 16 + 40 * count
    assert got.doorbells == DOORBELLS[index]
    assert len(got.all_fds) == count and len(set(got.fds)) == count
    for fd in got.fds:
        assert os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[eventfd]"


@pytest.mark.parametrize("index", [vu.BAR0, vu.BAR3, vu.BAR4, vu.ROM, vu.CONFIG, vu.VGA])
def test_region_without(client, index):
    got = io_fds(client, index)
    assert got.raw == struct.pack("=IIII", 16, 0, index, 0) and not got.all_fds


def test_device_without(plain_client):
    for index in range(9):
        assert io_fds(plain_client, index).count == 0


def test_extra_regions_have_none(caps_client):
    for index in range(9, caps_client.get_info()[1]):
        assert io_fds(caps_client, index).count == 0


@pytest.mark.parametrize("index", [9, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_index_out_of_range(client, index):
    client.fails(errno.EINVAL, vu.DEVICE_GET_REGION_IO_FDS, vu.io_fds_body(index))


@pytest.mark.parametrize("argsz", [0, 1, 15])
def test_argsz_below_the_fixed_part(client, argsz):
    body = vu.io_fds_body(vu.BAR1, argsz)
    client.fails(errno.EINVAL, vu.DEVICE_GET_REGION_IO_FDS, body)


@pytest.mark.parametrize("flags, count", [(1, 0), (0x80000000, 0), (0, 1), (0, 0xFFFFFFFF)])
def test_fields_that_must_be_zero(client, flags, count):
    body = vu.io_fds_body(vu.BAR1, flags=flags, count=count)
    client.fails(errno.EINVAL, vu.DEVICE_GET_REGION_IO_FDS, body)


@pytest.mark.parametrize("length", [0, 8, 15, 17, 56, 4096])
def test_wrong_body_length(client, length):
    body = vu.io_fds_body(vu.BAR1).ljust(length, b"\0")[:length]
    client.fails(errno.EINVAL, vu.DEVICE_GET_REGION_IO_FDS, body)


@pytest.mark.parametrize("argsz", [16, 17, 56, 95])
def test_short_argsz(client, argsz):
    """The fixed part, the size that is needed, and no fd, which would be lost."""
    got = io_fds(client, vu.BAR1, argsz)
    assert got.raw == struct.pack("=IIII", 96, 0, vu.BAR1, 2) and not got.all_fds
    assert io_fds(client, vu.BAR1, got.argsz).doorbells == DOORBELLS[vu.BAR1]


@pytest.mark.parametrize("argsz", [97, 65536, 0xFFFFFFFF])
def test_argsz_larger_than_needed(client, argsz):
    got = io_fds(client, vu.BAR1, argsz)
    assert got.argsz == len(got.raw) == 96


@pytest.mark.parametrize("most", [None, 1, 2, 3, 4, 250, 0xFFFFFFFF])
def test_no_more_fds_than_the_client_takes(server, most):
    """None: it does not say, which means 1."""
    text = json.dumps({"capabilities": {} if most is None else {"max_msg_fds": most}})
    with server.negotiated(text=text) as client:
        got = io_fds(client, vu.BAR2)
        fits = min(1 if most is None else most, len(DOORBELLS[vu.BAR2]))
        assert got.doorbells == DOORBELLS[vu.BAR2][:fits]
        assert got.count == len(got.all_fds) == fits and got.argsz == 16 + 40 * fits
        writes = td.count(client, td.COUNT_WRITE)
        for fd in got.fds:
            ring(fd)
        assert td.count(client, td.COUNT_WRITE) == writes + fits


def test_any_value(client):
    """The hook gets what the register has."""
    bell = io_fds(client, vu.BAR1).fds[0]
    client.write32(vu.BAR1, td.REG_BELL, 0x12345678)
    client.write64(vu.BAR1, td.REG_BELL_VALUE, 0)
    before = bells(client)
    ring(bell)
    assert bells(client) == before + 1
    assert client.read64(vu.BAR1, td.REG_BELL_VALUE) == 0x12345678
    assert client.read32(vu.BAR1, td.REG_BELL) == 0x12345678


def test_matched_value(client):
    """As the write of it: stored, and announced."""
    bell = io_fds(client, vu.BAR1).fds[1]
    client.write32(vu.BAR1, td.REG_BELL_MATCH, 1)
    before = bells(client)
    ring(bell)
    assert bells(client) == before + 1
    assert client.read64(vu.BAR1, td.REG_BELL_VALUE) == td.BELL_MATCH
    assert client.read32(vu.BAR1, td.REG_BELL_MATCH) == td.BELL_MATCH


def test_callbacks(client):
    """A driver without registers is told the matched value, or zeros, in the doorbell's size."""
    fds = io_fds(client, vu.BAR2).fds
    for fd, data in zip(fds, [b"\0\0", b"\5\0\0\0", b"\4\3\2\1", b"\xff" * 8]):
        writes = td.count(client, td.COUNT_WRITE)
        total = client.read64(vu.BAR1, td.REG_WRITE_SUM)
        ring(fd)
        assert td.count(client, td.COUNT_WRITE) == writes + 1
        assert client.read64(vu.BAR1, td.REG_WRITE_SUM) == total + sum(data)


def test_port(client):
    bell = io_fds(client, vu.BAR5).fds[0]
    client.write(vu.BAR5, 0x10, b"\x34\x12")
    before = bells(client)
    ring(bell)
    assert bells(client) == before + 1
    assert client.read64(vu.BAR1, td.REG_BELL_VALUE) == 0x1234


def test_signals_before_they_are_heard_are_one(client):
    bell = io_fds(client, vu.BAR1).fds[0]
    before = bells(client)
    ring(bell, 1000)
    assert bells(client) == before + 1
    ring(bell, 0xFFFFFFFFFFFFFFFE)
    assert bells(client) == before + 2
    assert signalled(bell) == 0


def test_heard_without_a_message(client):
    """The session wakes by the doorbell alone, and the interrupt comes."""
    bell = io_fds(client, vu.BAR1).fds[0]
    with eventfds(1) as fds:
        start = vu.DATA_EVENTFD | vu.ACTION_TRIGGER
        client.set_irqs(start, vu.MSIX, td.BELL_VECTOR, 1, fds=fds)
        for _ in range(50):
            ring(bell)
            assert wait_signalled(fds[0]) == 1
        client.set_irqs(vu.DATA_NONE | vu.ACTION_TRIGGER, vu.MSIX, 0, 0)


def test_after_writes_posted_before(client):
    """A driver posts a command's registers, then rings: the device sees them in this order."""
    bell = io_fds(client, vu.BAR1).fds[0]
    for i in range(1, 200):
        for value in range(i % 7):
            client.post_write(vu.BAR1, td.REG_SCRATCH, struct.pack("=I", value))
        client.post_write(vu.BAR1, td.REG_SCRATCH, struct.pack("=I", i))
        ring(bell)
        assert client.read32(vu.BAR1, td.REG_BELL_SCRATCH) == i


def test_posted_writes_do_not_drown_it(client):
    """It is heard after those that came before it, however many follow."""
    bell = io_fds(client, vu.BAR1).fds[0]
    done = threading.Event()
    before = bells(client)

    def flood():
        while not done.is_set():
            client.post_write(vu.BAR1, td.REG_SCRATCH, b"\1\0\0\0")

    with eventfds(1) as fds:
        start = vu.DATA_EVENTFD | vu.ACTION_TRIGGER
        client.set_irqs(start, vu.MSIX, td.BELL_VECTOR, 1, fds=fds)
        flooder = threading.Thread(target=flood)
        flooder.start()
        try:
            for _ in range(20):
                ring(bell)
                wait_signalled(fds[0])
        finally:
            done.set()
            flooder.join()
        client.set_irqs(vu.DATA_NONE | vu.ACTION_TRIGGER, vu.MSIX, 0, 0)
    assert bells(client) == before + 20


def test_trapped_writes_beside(client):
    """Writes that the client does not turn into signals do what they always did."""
    io_fds(client, vu.BAR1)
    before = bells(client)
    client.write32(vu.BAR1, td.REG_BELL, 7)
    client.write32(vu.BAR1, td.REG_BELL_MATCH, td.BELL_MATCH)
    client.write32(vu.BAR1, td.REG_BELL_MATCH, 1)
    client.write(vu.BAR1, td.REG_BELL_MATCH, b"\2")
    assert bells(client) == before + 4
    assert client.read64(vu.BAR1, td.REG_BELL_VALUE) == 2


def test_the_same_eventfds_again(client):
    first, second = io_fds(client, vu.BAR1), io_fds(client, vu.BAR1)
    before = bells(client)
    for fd in [*first.fds, *second.fds]:
        ring(fd)
        assert bells(client) == before + 1
        before += 1
    ring(first.fds[0])
    ring(second.fds[0])
    assert before < bells(client) <= before + 2


def test_asking_again_and_again_makes_no_more(client):
    for _ in range(100):
        reply = client.call(vu.DEVICE_GET_REGION_IO_FDS, vu.io_fds_body(vu.BAR2))
        assert len(reply.fds) == 4
        client.received_fds.clear()
        reply.close_fds()
    client.check_in_step()


def test_all_regions_ring(client):
    fds = [fd for index in DOORBELLS for fd in io_fds(client, index).fds]
    bells_before, writes = bells(client), td.count(client, td.COUNT_WRITE)
    for fd in fds:
        ring(fd)
    assert bells(client) == bells_before + 3
    assert td.count(client, td.COUNT_WRITE) == writes + 4


def test_drained_by_the_client(client):
    """A blocking, drained eventfd must not make the session wait for it."""
    bell = io_fds(client, vu.BAR1).fds[0]
    fcntl.fcntl(bell, fcntl.F_SETFL, 0)
    done = threading.Event()
    other = os.dup(bell)

    def drain():
        while not done.is_set():
            if select.select([other], [], [], 0)[0]:
                # another reader may have been faster
                ring(other)
                os.eventfd_read(other)

    drainer = threading.Thread(target=drain)
    drainer.start()
    try:
        for _ in range(300):
            ring(bell)
            client.check_in_step()
    finally:
        done.set()
        while drainer.is_alive():  # it may be asleep, and the server be faster
            ring(other)
            drainer.join(0.01)
        os.close(other)
    client.check_in_step()


def test_rings_while_it_leaves(server):
    """Nothing is heard after the end, nothing is left behind, and the next client is not rung."""
    with server.negotiated() as client:
        bell = os.dup(io_fds(client, vu.BAR1).fds[0])
    try:
        ring(bell)
        with server.negotiated() as client:
            before = bells(client)
            for _ in range(100):
                ring(bell)
            client.check_in_step()
            assert bells(client) == before
            own = io_fds(client, vu.BAR1).fds[0]
            ring(own)
            assert bells(client) == before + 1
    finally:
        os.close(bell)


def test_error_of_the_driver_is_nobodys(client):
    """A write that is done already can't be refused."""
    fds = io_fds(client, vu.BAR2).fds
    client.write32(vu.BAR1, td.REG_FAIL, errno.EIO)
    ring(fds[0])
    client.check_in_step()
    client.write32(vu.BAR1, td.REG_FAIL, 0)


def test_reset_keeps_them(client):
    bell = io_fds(client, vu.BAR1).fds[0]
    client.reset()
    before = bells(client)
    ring(bell)
    assert bells(client) == before + 1
