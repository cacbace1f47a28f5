# SPDX-License-Identifier: BSD-3-Clause
"""Clients that lie about their memory: they lose precision or their session, and nobody else does."""

import errno
import fcntl
import os
import subprocess
import sys
import time

import pytest
import trackclient as tc
import userfaultfd as uf
import vfiouser as vu
from trackclient import BASE, OFFER, TRACK, WRITTEN, Trackdev
from vfiouser import PAGE

EVENT_FORK = 1 << 1


@pytest.fixture(scope="module")
def servers():
    with tc.served() as collect, tc.served("notify") as notify:
        yield {False: collect, True: notify}


@pytest.fixture(params=[False, True], ids=["async", "sync"])
def sync(request):
    return request.param


@pytest.fixture
def session(servers, sync):
    """A client that has told the truth so far."""
    server = servers[sync]
    with tc.userfaultfd(sync) as uffd, tc.pagemap() as pagemap, tc.memory() as memory:
        with server.negotiated(text=OFFER) as client:
            device = Trackdev(client)
            device.uffd, device.pagemap, device.memory, device.sync = uffd, pagemap, memory, sync
            yield device
        with server.negotiated() as client:
            client.check_in_step()


def always_written(device, *pages):
    """What can't be watched is compared."""
    for value in range(1, 4):
        for page in pages:
            device.memory.write(page, value)
        assert [r[2] for r in device.collect()] == [WRITTEN]


def test_memory_that_was_never_registered(session):
    session.give(session.uffd, session.pagemap, session.sync)
    session.map(session.memory, 0, 2)
    assert session.add(BASE, 2) == 0
    session.collect()
    always_written(session, 0, 1)
    assert session.collect() == []


def test_memory_that_is_not_the_clients(session):
    """The userfaultfd of other memory, at an address that has nothing."""
    session.give(session.uffd, session.pagemap, session.sync)
    body = tc.map_at_body(BASE, PAGE, 0x10000)
    assert session.client.call(tc.DMA_MAP_AT, body, [session.memory.fd]).body == b""
    assert session.add() == 0
    session.collect()
    session.memory.write(0, 1)
    assert session.collect() in ([(BASE, 1, WRITTEN)], [])


def test_an_address_of_other_memory(session):
    """Writes to where the client says the page is count; what it does elsewhere is its own loss."""
    with tc.memory() as other:
        other.register(session.uffd)
        session.give(session.uffd, session.pagemap, session.sync)
        body = tc.map_at_body(BASE, PAGE, other.hva)
        session.client.call(tc.DMA_MAP_AT, body, [session.memory.fd])
        assert session.add() == 0
        session.memory.write(0, 1)
        assert session.collect() == []
        other.write(0, 1)
        assert session.collect() == [(BASE, 1, WRITTEN)]


def test_registration_that_ends(session):
    memory = session.memory
    memory.register(session.uffd)
    session.give(session.uffd, session.pagemap, session.sync)
    session.map(memory, 0, 2)
    assert session.add(BASE, 2) == 0
    uf.unregister(session.uffd, memory.hva, memory.size)
    memory.write(0, 1)
    session.collect()
    session.client.check_in_step()


def test_unmapped_behind_our_back(session):
    memory = session.memory
    memory.register(session.uffd)
    session.give(session.uffd, session.pagemap, session.sync)
    session.map(memory, 0, 2)
    assert session.add(BASE, 2) == 0
    uf.LIBC.munmap(memory.hva, memory.size)
    session.collect()
    session.collect()
    memory.hva = uf.LIBC.mmap(memory.hva, memory.size, 3, 1, memory.fd, 0)
    session.collect()
    session.client.check_in_step()


def test_pagemap_of_another_process(servers):
    """It tells of other memory, or of none that is registered: then the device compares."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        other.stdout.readline()
        with tc.userfaultfd() as uffd, tc.pagemap(other.pid) as pagemap, tc.memory() as memory:
            memory.register(uffd)
            with servers[False].negotiated(text=OFFER) as client:
                device = Trackdev(client)
                device.memory = memory
                device.give(uffd, pagemap)
                device.map(memory, 0, 2)
                assert device.add(BASE, 2) == 0
                device.collect()
                other.communicate(b"")
                device.collect()
                client.check_in_step()
    finally:
        other.kill()
        other.wait()


def test_events_of_forks(servers):
    """Each comes with an fd, which must not stay in the server: it is looked at in the end."""
    with tc.userfaultfd(True, EVENT_FORK) as uffd, tc.pagemap() as pagemap, tc.memory() as memory:
        memory.register(uffd)
        with servers[True].negotiated(text=OFFER) as client:
            device = Trackdev(client)
            device.memory = memory
            device.give(uffd, pagemap, True)
            device.map(memory, 0, 2)
            assert device.add(BASE, 2) == 0
            for _ in range(3):
                pid = os.fork()
                if pid == 0:
                    os._exit(0)
                os.waitpid(pid, 0)
            memory.write(0, 1)
            assert device.collect() == [(BASE, 1, WRITTEN)]


def test_any_fd(session):
    read, write = os.pipe()
    event = os.eventfd(0)
    with open("/dev/zero") as zero, open("/proc/self/stat") as stat:
        for fd in [read, event, zero.fileno(), stat.fileno(), session.memory.fd]:
            session.client.fails(errno.EINVAL, TRACK, tc.track_body(), [fd, session.pagemap])
            session.client.fails(errno.EINVAL, TRACK, tc.track_body(), [session.uffd, fd])
    for fd in [read, write, event]:
        os.close(fd)


def test_the_other_kind(session):
    """A kind that it is not: precision is lost."""
    session.memory.register(session.uffd)
    session.give(session.uffd, session.pagemap, not session.sync)
    session.map(session.memory, 0, 2)
    if session.sync:
        assert session.add(BASE, 2) == errno.EOPNOTSUPP
        return
    assert session.add(BASE, 2) == 0
    session.memory.write(0, 1)
    session.collect()
    session.client.check_in_step()


def test_one_that_must_be_waited_for(servers):
    """A userfaultfd whose owner makes it block, again and again: its events are heard late."""
    with tc.userfaultfd(True) as uffd, tc.pagemap() as pagemap, tc.memory() as memory:
        memory.register(uffd)
        with servers[True].negotiated(text=OFFER) as client:
            device = Trackdev(client)
            device.give(uffd, pagemap, True)
            device.map(memory, 0, 4)
            assert device.add(BASE, 4) == 0
            for page in range(4):
                fcntl.fcntl(uffd, fcntl.F_SETFL, 0)
                memory.write(page, 1)
            assert device.told == 4
            assert device.collect() == [(BASE, 4, WRITTEN)]


WRITER = """
import ctypes, os, signal, sys
sys.path.insert(0, os.path.dirname({path!r}))
import trackclient as tc, vfiouser as vu
with tc.userfaultfd(True) as uffd, tc.pagemap() as pagemap, tc.memory() as memory:
    memory.register(uffd)
    client = vu.Client({socket!r})
    client.negotiate(text=tc.OFFER)
    device = tc.Trackdev(client)
    device.give(uffd, pagemap, True)
    device.map(memory, 0, 16)
    assert device.add(tc.BASE, 16) == 0
    print("ready", flush=True)
    sys.stdin.read(1)
    for page in range(16):
        memory.write(page, 1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("stop", [False, True])
def test_a_writer_that_never_ends(servers, stop):
    """Killed in the middle, or stopped: the next client has the device at once."""
    server = servers[True]
    code = WRITER.format(path=os.path.abspath(__file__), socket=server.path)
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout.readline() == b"ready\n"
        if stop:
            os.kill(child.pid, 19)
            time.sleep(0.05)
            with server.client() as client:
                reply = client.try_call(vu.VERSION, vu.version_body())
                assert reply.errno == errno.EBUSY
        else:
            child.stdin.write(b"x")
            child.stdin.flush()
            child.wait(10)
    finally:
        child.kill()
        child.wait()
    with server.negotiated() as client:
        client.check_in_step()


def test_an_events_flood(servers):
    """Pages that nobody tracks, protected by their owner: whoever writes goes on."""
    with tc.userfaultfd(True) as uffd, tc.pagemap() as pagemap, tc.memory() as memory:
        memory.register(uffd)
        with servers[True].negotiated(text=OFFER) as client:
            Trackdev(client).give(uffd, pagemap, True)
            for page in range(16):
                uf.write_protect(uffd, memory.hva + page * PAGE, PAGE)
                memory.write(page, 1)
            client.check_in_step()
