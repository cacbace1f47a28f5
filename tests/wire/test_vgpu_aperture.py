# SPDX-License-Identifier: BSD-3-Clause
"""The vgpu's aperture from outside, by docs/vgpu.md: a client that maps, and one that only traps."""

import errno
import os
import struct
import time

import faultclient as fc
import pytest
import vfiouser as vu
from faultclient import READ, RW, WRITE, Channel
from server import Server
from vfiouser import PAGE

APERTURE = vu.BAR4
SHARE = 1 << 20  # a vgpu-1 of 8 MiB
SIZE = 16 << 20
IOVA = 0x100000
VALID, WRITABLE, GUEST = 1, 2, 1 << 8
RWE = VALID | WRITABLE
GGTT_FILL, ALLOC, FREE = 7, 9, 10
ID, CONTROL, STATUS, RING_BASE, RING_SIZE, RING_HEAD, RING_TAIL = (
    0x1000, 0x101C, 0x1020, 0x1048, 0x1050, 0x1054, 0x1058)
VRAM_QUOTA, VRAM_USED, VRAM_POOL, ENTRIES, INDEX, WINDOW = (
    0x1100, 0x1108, 0x1110, 0x1118, 0x111C, 0x8000)
REFUSED = 0x10D8


@pytest.fixture(scope="module")
def shared():
    server = Server("vgpu", "vgpu-1", "vram=8M", "aperture=16M")
    yield server
    server.stop()


@pytest.fixture
def server(shared):
    yield shared
    shared.check()


@pytest.fixture
def old(server):
    with server.negotiated() as client:
        yield client


@pytest.fixture
def new(server):
    with server.negotiated(text=fc.CAPABILITIES) as client:
        yield client


def put(client, index, *entries):
    client.write32(vu.BAR2, INDEX, index)
    client.write(vu.BAR2, WINDOW, struct.pack(f"<{len(entries)}Q", *entries))


class Ring:
    """A page of guest memory for the ring, one behind it for what is shown through the aperture."""

    def __init__(self, client):
        self.client, self.tail = client, 0
        self.file = vu.memory_file(2 * PAGE)
        self.fd = self.file.__enter__()
        client.dma_map(IOVA, 2 * PAGE, self.fd)
        client.write(vu.CONFIG, 4, struct.pack("<H", 6))
        client.write64(vu.BAR2, RING_BASE, IOVA)
        client.write32(vu.BAR2, RING_SIZE, PAGE)
        client.write32(vu.BAR2, CONTROL, 1)

    def post(self, opcode, body, flags=0):
        data = struct.pack("<II", opcode | flags << 8 | (len(body) + 8) // 4 << 16, 0) + body
        os.pwrite(self.fd, data, self.tail)
        self.tail += len(data)
        self.client.write32(vu.BAR2, RING_TAIL, self.tail)

    def wait(self):
        deadline = time.monotonic() + vu.TIMEOUT
        while self.client.read32(vu.BAR2, RING_HEAD) != self.tail:
            assert time.monotonic() < deadline
            assert not self.client.read32(vu.BAR2, STATUS) & 4, "the ring stopped"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.__exit__(None, None, None)


# ------------------------------------------------------------------ a client that traps


def test_region(old):
    info = old.region_info(APERTURE)
    assert info.size == SIZE and not info.flags & vu.REGION_FLAG_MMAP and not info.fds
    assert old.read32(vu.BAR2, ENTRIES) == SIZE // PAGE
    assert old.read64(vu.BAR2, VRAM_QUOTA) == 2 * SHARE
    assert old.read32(vu.CONFIG, 0x20) & 0xF == 0xC  # BAR4: 64-bit, prefetchable


def test_pages_by_messages(old):
    old.write(vu.BAR0, 3 * PAGE, b"three" + bytes(3))
    old.write(vu.BAR0, 9 * PAGE, b"nine" + bytes(4))
    put(old, 7, 3 * PAGE | RWE, 9 * PAGE | VALID)
    assert old.read(APERTURE, 7 * PAGE, 5) == b"three"
    old.write(APERTURE, 8 * PAGE - 2, b"XY")
    assert old.read(vu.BAR0, 4 * PAGE - 2, 2) == b"XY"
    assert old.read(APERTURE, 8 * PAGE - 2, 6) == b"XYnine"  # over the border of pages
    with pytest.raises(vu.VfioError) as refused:
        old.write(APERTURE, 8 * PAGE, b"x")
    assert refused.value.errno == errno.EACCES
    put(old, 7, 9 * PAGE | RWE, 0)
    assert old.read(APERTURE, 7 * PAGE, 4) == b"nine"
    before = old.read64(vu.BAR2, REFUSED)
    with pytest.raises(vu.VfioError) as refused:
        old.read(APERTURE, 8 * PAGE, 4)
    assert refused.value.errno == errno.EFAULT
    assert old.read64(vu.BAR2, REFUSED) == before + 1
    assert old.read32(vu.BAR2, ID) == 0x55504756  # and nothing worse


def test_guest_memory_by_messages(old):
    with Ring(old) as ring:
        put(old, 0, IOVA + PAGE | GUEST | RWE)
        os.pwrite(ring.fd, b"guest", PAGE + 100)
        assert old.read(APERTURE, 100, 5) == b"guest"
        old.write(APERTURE, 102, b"EST")
        assert os.pread(ring.fd, 5, PAGE + 100) == b"guEST"
        old.dma_unmap(IOVA, 2 * PAGE)
        with pytest.raises(vu.VfioError) as refused:
            old.read(APERTURE, 100, 5)
        assert refused.value.errno == errno.EFAULT


def test_vram_comes_and_goes(old):
    with Ring(old) as ring:
        pool = old.read64(vu.BAR2, VRAM_POOL)
        ring.post(ALLOC, struct.pack("<3Q", SHARE, 4 * PAGE, 0))
        ring.post(GGTT_FILL, struct.pack("<IIQ", 0, 4, SHARE | RWE), flags=1)
        ring.wait()
        assert old.read64(vu.BAR2, VRAM_USED) == SHARE + 4 * PAGE
        assert old.read64(vu.BAR2, VRAM_POOL) == pool - 4 * PAGE
        old.write(APERTURE, PAGE, b"mine")
        ring.post(FREE, struct.pack("<2Q", SHARE, 4 * PAGE))
        ring.wait()
        assert old.read64(vu.BAR2, VRAM_POOL) == pool
        with pytest.raises(vu.VfioError):
            old.read(APERTURE, PAGE, 4)
        ring.post(ALLOC, struct.pack("<3Q", SHARE, 4 * PAGE, 0))
        ring.post(GGTT_FILL, struct.pack("<IIQ", 0, 4, SHARE | RWE), flags=1)
        ring.wait()
        assert old.read(APERTURE, 0, 4 * PAGE) == bytes(4 * PAGE)


# ------------------------------------------------------------------ a client that maps


def test_runs(new):
    with Channel(new) as channel:
        put(new, 10, *(page * PAGE | RWE for page in range(50, 60)), 60 * PAGE | VALID)
        new.write(vu.BAR0, 57 * PAGE, b"57")
        got = channel.fault(APERTURE, 15 * PAGE, WRITE)
        assert (got.first, got.last, got.prot) == (10 * PAGE, 20 * PAGE - 1, RW)
        with channel.open_map(got) as memory:
            assert memory[7 * PAGE : 7 * PAGE + 2] == b"57"
        got = channel.fault(APERTURE, 20 * PAGE, READ)
        assert (got.first, got.last, got.prot) == (20 * PAGE, 21 * PAGE - 1, READ)
        channel.refused(errno.EACCES, APERTURE, 20 * PAGE, WRITE)
        channel.refused(errno.EFAULT, APERTURE, 21 * PAGE)


def test_a_write_is_answered_after_the_invalidation(new):
    with Channel(new) as channel:
        put(new, 0, 5 * PAGE | RWE)
        channel.fault(APERTURE, 0)
        new.write32(vu.BAR2, INDEX, 0)
        body = vu.region_body(vu.BAR2, WINDOW, 8, struct.pack("<Q", 6 * PAGE | RWE))
        message = new.request(vu.REGION_WRITE, body)
        new.expect_silence()
        channel.expect_invalidate(APERTURE, 0, PAGE - 1)
        assert not new.expect_reply(message, vu.REGION_WRITE).errno
        assert channel.fault(APERTURE, 0).offset == 6 * PAGE


def test_a_packet_is_done_after_the_invalidation(new):
    with Channel(new) as channel, Ring(new) as ring:
        ring.post(ALLOC, struct.pack("<3Q", SHARE, 4 * PAGE, 0))
        ring.wait()
        pool = new.read64(vu.BAR2, VRAM_POOL)
        put(new, 0, SHARE | RWE, SHARE + PAGE | RWE)
        got = channel.fault(APERTURE, 0)
        with channel.open_map(got) as memory:
            memory[0:4] = b"mine"
            ring.post(FREE, struct.pack("<2Q", SHARE, 4 * PAGE))
            invalidate = channel.recv()
            assert (invalidate.first, invalidate.last) == (0, 2 * PAGE - 1)
            # The ring stands, nobody has the pages, nothing is lost; other registers answer.
            time.sleep(0.05)
            assert new.read32(vu.BAR2, RING_HEAD) == ring.tail - 24
            assert new.read64(vu.BAR2, VRAM_POOL) == pool
            assert memory[0:4] == b"mine"
            channel.acknowledge(invalidate)
            ring.wait()
            assert new.read64(vu.BAR2, VRAM_POOL) == pool + 4 * PAGE
            # What a client keeps mapped against the rules is new memory.
            assert memory[0:4] == bytes(4)
        channel.refused(errno.EFAULT, APERTURE, 0)


def test_guest_memory_is_not_mapped(new):
    with Channel(new) as channel, Ring(new) as ring:
        os.pwrite(ring.fd, b"guest", PAGE)
        put(new, 0, IOVA + PAGE | GUEST | RWE)
        channel.refused(errno.EPERM, APERTURE, 0)
        assert new.read(APERTURE, 0, 5) == b"guest"


def test_a_client_that_does_not_acknowledge(server):
    with server.negotiated(text=fc.CAPABILITIES) as client:
        with Channel(client) as channel, Ring(client) as ring:
            put(client, 0, 5 * PAGE | RWE)
            channel.fault(APERTURE, 0)
            ring.post(GGTT_FILL, struct.pack("<IIQ", 0, 1, 0))
            client.sock.settimeout(15)
            client.expect_closed()
    with server.negotiated() as client:
        assert client.read64(vu.BAR2, VRAM_USED) == SHARE
