# SPDX-License-Identifier: BSD-3-Clause
"""FAULT_IDENTITY, the short way of faults: docs/protocol.md. With a real userfaultfd."""

import contextlib
import ctypes
import errno
import mmap
import os
import select
import socket
import struct
import threading
import time

import faultclient as fc
import pytest
import userfaultfd as uf
import vfiouser as vu
from faultclient import READ, RW, Channel
from faultdev import (
    ASKED,
    DELAY,
    DENY,
    IDENTITY,
    IDENTITY_FIRST,
    IDENTITY_PAGES,
    TABLE,
    WINDOW,
    invalidate,
    number,
    wait_for,
)
from userfaultfd import LIBC, MINOR, MISSING
from vfiouser import PAGE

COMMAND = 0x8002
OPEN, ADD, REMOVE = 1, 2, 4
MAX_WINDOWS = 16
SIZE = IDENTITY_PAGES * PAGE
BODY = struct.Struct("=IIIIQQQ")

LIBC.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
LIBC.memmove.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
LIBC.write.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]

EVENT_FORK, EVENT_REMOVE, MINOR_SHMEM, POISON = 1 << 1, 1 << 3, 1 << 10, 1 << 14
MADV_DONTNEED, MADV_REMOVE = 4, 9
EHWPOISON = 133


def body(flags, region=IDENTITY, offset=0, size=0, address=0, argsz=BODY.size, reserved=0):
    return BODY.pack(argsz, flags, region, reserved, offset, size, address)


def open_uffd(features=MINOR_SHMEM | POISON, nonblock=True, api=True):
    return uf.open_uffd(features, nonblock, api)


@pytest.fixture
def uffd():
    fd = open_uffd()
    yield fd
    os.close(fd)


class View:
    """Memory of this process whose touches a userfaultfd reports."""

    def __init__(self, uffd, fd, offset=0, size=SIZE, mode=MISSING | MINOR):
        self.uffd, self.size = uffd, size
        flags = mmap.MAP_SHARED if fd >= 0 else mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.address = LIBC.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, fd, offset)
        uf.register(uffd, self.address, size, mode)
        self.pipe = os.pipe()

    def read(self, offset, size=8):
        """By a system call, which fails where an instruction would raise SIGBUS."""
        if LIBC.write(self.pipe[1], self.address + offset, size) != size:
            raise OSError(ctypes.get_errno(), "touch")
        return os.read(self.pipe[0], size)

    def write(self, offset, data):
        LIBC.memmove(self.address + offset, data, len(data))

    def refused(self, offset):
        with pytest.raises(OSError) as caught:
            self.read(offset)
        assert caught.value.errno in (errno.EFAULT, EHWPOISON)

    def drop(self, offset=0, size=None):
        assert LIBC.madvise(self.address + offset, size or self.size, MADV_DONTNEED) == 0

    def release(self):
        """Whoever waits goes on, and reads what the file has."""
        uf.unregister(self.uffd, self.address, self.size)

    def close(self):
        self.release()
        for fd in self.pipe:
            os.close(fd)
        LIBC.munmap(self.address, self.size)


def open_object(client):
    """The object's fd, and where the region begins in it."""
    reply = client.call(COMMAND, body(OPEN))
    argsz, flags, region, reserved, offset, size, address = BODY.unpack(reply.body)
    assert (argsz, flags, region, reserved, size, address) == (40, OPEN, IDENTITY, 0, SIZE, 0)
    assert offset == IDENTITY_FIRST * PAGE and len(reply.fds) == 1
    return reply.fds[0], offset


def add_body(view, **changed):
    return body(ADD, **{"size": view.size, "address": view.address, **changed})


@contextlib.contextmanager
def windowed(client, uffd):
    fd, offset = open_object(client)
    view = View(uffd, fd, offset)
    os.close(fd)
    try:
        assert client.call(COMMAND, add_body(view), [uffd]).body == add_body(view)
        yield view
    finally:
        view.close()


@pytest.fixture
def view(fault_client, channel, uffd):
    with windowed(fault_client, uffd) as view:
        yield view


def page_number(page):
    return number(0, IDENTITY_FIRST + page)


# ------------------------------------------------------------------ what is offered


def test_region_info(fault_client):
    assert fault_client.region_info(IDENTITY).caps[fc.CAP_FAULT] == (1, struct.pack("=II", 1, 0))


def test_not_negotiated(old_client):
    old_client.fails(errno.ENOSYS, COMMAND, body(OPEN))


def test_without_a_channel(fault_client):
    fault_client.fails(errno.EINVAL, COMMAND, body(OPEN))


def test_open(fault_client, channel):
    fd, offset = open_object(fault_client)
    with mmap.mmap(fd, SIZE, offset=offset) as m:
        assert m[:8] == page_number(0)
        fault_client.write(IDENTITY, 8, b"message")
        assert m[8:15] == b"message"
    os.close(fd)


@pytest.mark.parametrize(
    "wrong",
    [
        {"argsz": 39},
        {"reserved": 1},
        {"offset": PAGE},
        {"size": SIZE},
        {"address": PAGE},
        {"region": TABLE},
        {"region": WINDOW},
        {"region": vu.BAR0},
        {"region": 11},
        {"region": 0xFFFFFFFF},
    ],
)
def test_open_malformed(fault_client, channel, wrong):
    fault_client.fails(errno.EINVAL, COMMAND, body(OPEN, **wrong))


@pytest.mark.parametrize("flags", [0, OPEN | ADD, OPEN | REMOVE, 8, 0x80000001])
def test_flags(fault_client, channel, flags):
    fault_client.fails(errno.EINVAL, COMMAND, body(flags))


def test_body_and_fds(fault_client, channel, uffd):
    fault_client.fails(errno.EINVAL, COMMAND, body(OPEN)[:-1])
    fault_client.fails(errno.EINVAL, COMMAND, body(OPEN) + b"\0")
    fault_client.fails(errno.EINVAL, COMMAND, body(OPEN), [uffd])
    fault_client.fails(errno.EINVAL, COMMAND, body(REMOVE), [uffd])


# ------------------------------------------------------------------ windows


def test_touch(fault_client, channel, view):
    for page in range(IDENTITY_PAGES):
        assert view.read(page * PAGE) == page_number(page)
    assert fault_client.read32(vu.BAR0, ASKED) == IDENTITY_PAGES
    view.write(3 * PAGE + 8, b"by touch")
    assert fault_client.read(IDENTITY, 3 * PAGE + 8, 8) == b"by touch"
    assert channel.silent()


def test_write_first(fault_client, channel, view):
    view.write(PAGE + 8, b"first")
    assert fault_client.read(IDENTITY, PAGE + 8, 5) == b"first"
    assert view.read(PAGE) == page_number(1)


def test_refusal_and_back(fault_client, channel, view):
    fault_client.write32(vu.BAR0, DENY, 1 << 2)
    view.refused(2 * PAGE)
    view.refused(2 * PAGE + 100)
    assert fault_client.read32(vu.BAR0, ASKED) == 1
    assert view.read(3 * PAGE) == page_number(3)
    fault_client.write32(vu.BAR0, DENY, 1 << 3)
    invalidate_with(fault_client, channel, view, 2, 3)
    assert view.read(2 * PAGE) == page_number(2)
    view.refused(3 * PAGE)


def invalidate_with(client, channel, view, first, last):
    """The pages are dropped before the acknowledgement, in a client's order."""
    acknowledge = channel.acknowledge

    def drop_and_acknowledge(packet):
        view.drop(packet.first, packet.last - packet.first + 1)
        acknowledge(packet)

    channel.acknowledge = drop_and_acknowledge
    try:
        invalidate(client, channel, first, last, IDENTITY)
    finally:
        channel.acknowledge = acknowledge


def test_invalidate(fault_client, channel, view):
    view.read(0)
    view.read(PAGE)
    invalidate_with(fault_client, channel, view, 0, 0)
    assert fault_client.read32(vu.BAR0, ASKED) == 2
    view.read(PAGE)
    assert fault_client.read32(vu.BAR0, ASKED) == 2
    view.read(0)
    assert fault_client.read32(vu.BAR0, ASKED) == 3


def test_both_ways(fault_client, channel, view):
    """A FAULT for the region works, too."""
    view.read(0)
    got = channel.fault(IDENTITY, PAGE, RW)
    assert (got.first, got.offset) == (PAGE, (IDENTITY_FIRST + 1) * PAGE)
    invalidate_with(fault_client, channel, view, 0, 1)
    assert view.read(PAGE) == page_number(1)


def test_part_of_the_region(fault_client, channel, uffd):
    fd, offset = open_object(fault_client)
    view = View(uffd, fd, offset + 4 * PAGE, 2 * PAGE)
    os.close(fd)
    fault_client.call(COMMAND, add_body(view, offset=4 * PAGE), [uffd])
    assert view.read(PAGE) == page_number(5)
    view.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"argsz": 39},
        {"reserved": 1},
        {"region": TABLE},
        {"region": vu.BAR0},
        {"region": 11},
        {"offset": 1},
        {"offset": PAGE},
        {"offset": 2**64 - PAGE},
        {"size": 0},
        {"size": PAGE - 1},
        {"size": SIZE + PAGE},
        {"size": 2**64 - PAGE},
        {"address": 1},
        {"address": 2**64 - PAGE},
    ],
)
def test_add_malformed(fault_client, channel, uffd, wrong):
    fields = {"size": SIZE, "address": 1 << 32, **wrong}
    fault_client.fails(errno.EINVAL, COMMAND, body(ADD, **fields), [uffd])


def test_add_wrong_fds(fault_client, channel, uffd):
    good = body(ADD, size=SIZE, address=1 << 32)
    fault_client.fails(errno.EINVAL, COMMAND, good)
    fault_client.fails(errno.EINVAL, COMMAND, good, [uffd, uffd])
    ours, theirs = socket.socketpair()
    wrong = [
        *os.pipe(),
        os.memfd_create("anon_inode:[userfaultfd]"),
        os.eventfd(0),
        os.open("/dev/null", os.O_RDONLY),
        ours.detach(),
        theirs.detach(),
        open_uffd(nonblock=False),
        open_uffd(api=False),
    ]
    for fd in wrong:
        fault_client.fails(errno.EINVAL, COMMAND, good, [fd])
        os.close(fd)


def test_as_many_as_there_may_be(fault_client, channel):
    uffds = [open_uffd() for _ in range(MAX_WINDOWS + 1)]
    for i, fd in enumerate(uffds[:-1]):
        fault_client.call(COMMAND, body(ADD, size=SIZE, address=(i + 1) << 32), [fd])
    last = body(ADD, size=SIZE, address=1 << 44)
    fault_client.fails(errno.ENOSPC, COMMAND, last, [uffds[-1]])
    fault_client.call(COMMAND, body(REMOVE, address=3 << 32))
    fault_client.call(COMMAND, last, [uffds[-1]])
    for fd in uffds:
        os.close(fd)


def test_remove(fault_client, channel, uffd, view):
    view.read(0)
    for wrong in ({"address": view.address + PAGE}, {"offset": PAGE}, {"region": TABLE}):
        fields = {"address": view.address, **wrong}
        fault_client.fails(errno.ENOENT, COMMAND, body(REMOVE, **fields))
    fault_client.fails(errno.EINVAL, COMMAND, body(REMOVE, address=view.address, size=SIZE))
    fault_client.call(COMMAND, body(REMOVE, address=view.address))
    fault_client.fails(errno.ENOENT, COMMAND, body(REMOVE, address=view.address))
    # It is the client's alone again: its touches are the client's to read.
    with touching(view, PAGE):
        wait_for(lambda: readable(uffd), "the touch")
        assert fault_client.read32(vu.BAR0, ASKED) == 1
        fault_client.call(COMMAND, add_body(view), [uffd])


def readable(uffd):
    with contextlib.suppress(BlockingIOError):
        return len(os.read(uffd, 32)) == 32
    return False


@contextlib.contextmanager
def touching(view, offset):
    """A thread touches a page meanwhile, and is let go then."""
    thread = threading.Thread(target=view.read, args=(offset,), daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        view.release()
        thread.join()


# ------------------------------------------------------------------ clients that mean harm


def test_touch_outside_of_the_window(fault_client, channel, uffd):
    fd, offset = open_object(fault_client)
    view = View(uffd, fd, offset)
    os.close(fd)
    fault_client.call(COMMAND, add_body(view, size=SIZE - PAGE), [uffd])
    assert view.read(0) == page_number(0)
    with touching(view, SIZE - PAGE):
        fault_client.expect_closed()
    view.close()


def test_blocking_again(fault_client, channel, uffd, view):
    view.read(0)
    os.set_blocking(uffd, True)
    with touching(view, PAGE):
        fault_client.expect_closed()


def test_event_of_a_fork(fault_client, channel):
    """It comes with an fd, which must not stay in the server."""
    uffd = open_uffd(MINOR_SHMEM | EVENT_FORK)
    with windowed(fault_client, uffd) as view:
        view.read(0)
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        fault_client.expect_closed()
    os.close(uffd)


def test_event_of_removed_memory(fault_client, channel):
    uffd = open_uffd(MINOR_SHMEM | EVENT_REMOVE)
    with windowed(fault_client, uffd) as view:
        view.read(0)
        LIBC.madvise(view.address, PAGE, MADV_DONTNEED)
        fault_client.expect_closed()
    os.close(uffd)


def test_private_memory(fault_client, channel, uffd):
    """Nothing can be continued there."""
    view = View(uffd, -1, mode=MISSING)
    fault_client.call(COMMAND, add_body(view), [uffd])
    with touching(view, 0):
        fault_client.expect_closed()
    view.close()


def test_other_file(fault_client, channel, uffd):
    """One without pages: the touch is repeated until it has one, and nobody else is kept waiting."""
    fd = os.memfd_create("other")
    os.truncate(fd, SIZE)
    view = View(uffd, fd)
    fault_client.call(COMMAND, add_body(view), [uffd])
    with touching(view, 0) as thread:
        wait_for(lambda: fault_client.read32(vu.BAR0, ASKED) > 3, "touches")
        fault_client.check_in_step()
        os.pwrite(fd, b"x", 0)
        thread.join()
    os.close(fd)
    view.close()


def test_memory_that_is_gone(fault_client, channel, uffd):
    """The userfaultfd of a process that has left."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        socket.send_fds(theirs, [b"x"], [open_uffd()])
        os._exit(0)
    _, (fd,), _, _ = socket.recv_fds(ours, 1, 1)
    os.waitpid(pid, 0)
    fault_client.call(COMMAND, body(ADD, size=SIZE, address=1 << 32), [fd])
    os.close(fd)
    ours.close()
    theirs.close()
    with windowed(fault_client, uffd) as view:
        assert view.read(0) == page_number(0)


def test_gone_while_asked(fault_server, uffd):
    """The session ends while the driver is asked: the touch is left to the client."""
    with fault_server.negotiated(text=fc.CAPABILITIES) as client, Channel(client) as channel:
        with windowed(client, uffd) as view:
            client.write32(vu.BAR0, DELAY, 300)
            with touching(view, 0):
                time.sleep(0.1)
                assert not select.select([uffd], [], [], 0)[0]
                client.close()
                channel.expect_closed()


def test_storm(fault_client, channel, view):
    """Threads that touch what is taken back at once, while messages are answered."""
    stop = threading.Event()

    def storm(first):
        page = first
        while not stop.is_set():
            view.drop(page * PAGE, PAGE)
            view.read(page * PAGE)
            page = (page + 1) % IDENTITY_PAGES

    threads = [threading.Thread(target=storm, args=(i * 5,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for i in range(300):
        assert fault_client.read(IDENTITY, i % IDENTITY_PAGES * PAGE, 8) == page_number(
            i % IDENTITY_PAGES
        )
    stop.set()
    for thread in threads:
        thread.join()
    assert not channel.fault(IDENTITY, 0, READ).error
