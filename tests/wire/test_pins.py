# SPDX-License-Identifier: BSD-3-Clause
"""Pins: what a device reaches by bus addresses, and what ends it. The driver is umdev-pindev.c."""

import errno
import functools
import os
import struct

import pytest
import testdev
import vfiouser as vu
from server import served_by
from vfiouser import BAR0, PAGE

REG_IOVA, REG_COUNT, REG_PROT, REG_GO, REG_RESULT = 0x00, 0x08, 0x0C, 0x10, 0x14
REG_INDEX, REG_BUS, REG_VALUE, REG_KEEP, REG_UNMAPS, REG_PINNED = 0x18, 0x20, 0x28, 0x30, 0x34, 0x38
GO_PIN, GO_UNPIN, GO_PEEK, GO_POKE, GO_DMA_READ = range(1, 6)
R, W, RW = 1, 2, 3
MAX_PAGES = 512
BASE = 0x7F000
ERR = 3  # VFIO's index of the error interrupt

MODES = ["contiguous", "paged"]

served = functools.partial(served_by, "pindev")


class Pindev:
    """A client of the device, and its registers."""

    def __init__(self, client):
        self.client = client
        testdev.enable_bus_master(client)

    def go(self, command):
        self.client.write32(BAR0, REG_GO, command)
        return self.client.read32(BAR0, REG_RESULT)

    def pin(self, iova, count=1, prot=RW):
        self.client.write(BAR0, REG_IOVA, struct.pack("=QII", iova, count, prot))
        return self.go(GO_PIN)

    def unpin(self, iova, count=1):
        self.client.write(BAR0, REG_IOVA, struct.pack("=QII", iova, count, 0))
        assert self.go(GO_UNPIN) == 0

    def bus(self, index=0):
        self.client.write32(BAR0, REG_INDEX, index)
        return self.client.read64(BAR0, REG_BUS)

    def peek(self, bus):
        self.client.write64(BAR0, REG_BUS, bus)
        result = self.go(GO_PEEK)
        return result or self.client.read64(BAR0, REG_VALUE).to_bytes(8, "little")

    def poke(self, bus, data):
        self.client.write64(BAR0, REG_BUS, bus)
        self.client.write64(BAR0, REG_VALUE, int.from_bytes(data, "little"))
        return self.go(GO_POKE)

    def dma_read(self, iova):
        self.client.write64(BAR0, REG_IOVA, iova)
        return self.go(GO_DMA_READ)

    def keep(self):
        self.client.write32(BAR0, REG_KEEP, 1)

    @property
    def pinned(self):
        return self.client.read32(BAR0, REG_PINNED)


@pytest.fixture(params=MODES)
def device(request):
    """A device that pins what it is told, its parent addressing memory in each of the ways."""
    with served("pindev-1", f"bus={request.param}") as server, server.negotiated() as client:
        yield Pindev(client)


@pytest.fixture
def memory():
    """A client's file of 16 pages; page n begins with 8 bytes that say so."""
    with vu.memory_file(16 * PAGE) as fd:
        for page in range(16):
            os.pwrite(fd, b"page%04d" % page, page * PAGE)
        yield fd


def test_a_pin_leads_to_the_page(device, memory):
    """Over the border of two mappings, which the file has the other way round."""
    device.client.dma_map(BASE, 4 * PAGE, memory, offset=8 * PAGE)
    device.client.dma_map(BASE + 4 * PAGE, 4 * PAGE, memory)
    assert device.pin(BASE + 2 * PAGE + 17, 4) == 0
    assert device.pinned == 4
    for index, page in enumerate([10, 11, 0, 1]):
        assert device.peek(device.bus(index)) == b"page%04d" % page
        assert device.poke(device.bus(index) + 64, b"by bus %d" % index) == 0
        assert os.pread(memory, 8, page * PAGE + 64) == b"by bus %d" % index
    bus = device.bus()
    device.unpin(BASE + 2 * PAGE, 4)
    assert device.pinned == 0
    assert device.peek(bus) == errno.EFAULT


def test_what_is_refused(device, memory):
    client = device.client
    client.dma_map(BASE, 4 * PAGE, memory, flags=vu.READABLE)
    client.dma_map(BASE + 4 * PAGE, 4 * PAGE, memory, flags=vu.WRITEABLE)
    assert device.pin(BASE, 0) == errno.EINVAL
    assert device.pin(BASE, 1, 0) == errno.EINVAL
    assert device.pin(BASE, MAX_PAGES + 1, R) == errno.E2BIG
    assert device.pin(BASE - PAGE, 1, R) == errno.EINVAL
    assert device.pin(BASE + 7 * PAGE, 2, W) == errno.EINVAL
    assert device.pin(2**64 - PAGE, 2, R) == errno.EINVAL
    assert device.pin(BASE, 1, RW) == errno.EPERM
    assert device.pin(BASE + 3 * PAGE, 2, R) == errno.EPERM
    assert device.pin(BASE + 4 * PAGE, 1, RW) == errno.EPERM
    client.dma_map(0, PAGE)
    assert device.pin(0, 1, R) == errno.EOPNOTSUPP
    assert device.pinned == 0
    assert device.pin(BASE, 1, R) == 0
    assert device.poke(device.bus(), b"not mine") == errno.EFAULT


def test_no_pins_without_bus_mastering(device, memory):
    device.client.dma_map(BASE, PAGE, memory)
    device.client.write(vu.CONFIG, 4, b"\0\0")
    assert device.pin(BASE) == errno.ENODEV


def test_the_limit_counts_a_page_once(device):
    with vu.memory_file(300 * PAGE) as fd:
        device.client.dma_map(0, 300 * PAGE, fd)
        assert device.pin(0, 200) == 0
        assert device.pin(100 * PAGE, 156) == 0
        assert device.pin(256 * PAGE, 1) == errno.ENOMEM
        assert device.pin(0, 256) == 0
        assert device.pinned == 256


def test_nobody_else_gets_there(memory):
    """The second device of the parent tries the bus addresses of the first, and those around."""
    with served(devices=2) as server, server.negotiated(0) as one, server.negotiated(1) as other:
        mine, theirs = Pindev(one), Pindev(other)
        one.dma_map(BASE, 8 * PAGE, memory)
        assert mine.pin(BASE, 4) == 0
        bus = mine.bus()
        assert mine.peek(bus) == b"page0000"
        for page in range(-8, 16):
            assert theirs.peek(bus + page * PAGE) == errno.EFAULT
            assert theirs.poke(bus + page * PAGE, b"stranger") == errno.EFAULT
        # Nor does it get what it maps itself at an address that is the other's.
        with vu.memory_file(8 * PAGE) as own:
            other.dma_map(BASE, 8 * PAGE, own)
            assert theirs.pin(BASE, 8) == 0
            taken = {theirs.bus(i) for i in range(8)}
            assert not taken & {bus + page * PAGE for page in range(8)}
            assert theirs.poke(theirs.bus(), b"stranger") == 0
            assert theirs.peek(bus) == errno.EFAULT
        assert os.pread(memory, 8, 0) == b"page0000"
        # What is not pinned is out of reach of the device itself, too.
        assert mine.peek(bus + 4 * PAGE) == errno.EFAULT


def test_reserved_windows_are_left_out(memory):
    with served("pindev-1", "bus=contiguous") as server, server.negotiated() as client:
        device = Pindev(client)
        with vu.memory_file(8 * PAGE) as fd:
            for i in range(16):
                client.dma_map(BASE + 8 * i * PAGE, 8 * PAGE, fd)
                assert device.pin(BASE + 8 * i * PAGE, 8) == 0
                first, last = device.bus(0), device.bus(7)
                assert last - first == 7 * PAGE
                assert last < (1 << 30) + 16 * PAGE or first >= (1 << 30) + 18 * PAGE


# ------------------------------------------------------------------ unmapping


def test_an_unmap_ends_the_pins(device, memory):
    device.client.dma_map(BASE, 8 * PAGE, memory)
    assert device.pin(BASE + PAGE, 2) == 0
    bus = device.bus()
    device.client.dma_unmap(BASE, 8 * PAGE)
    assert device.client.read32(BAR0, REG_UNMAPS) == 1
    assert device.pinned == 0
    assert device.peek(bus) == errno.EFAULT
    assert device.pin(BASE + PAGE, 2) == errno.EINVAL


def test_part_of_a_pinned_set(device, memory):
    """A pin over two mappings, of which one goes: the driver lets go of it whole."""
    device.client.dma_map(BASE, 4 * PAGE, memory)
    device.client.dma_map(BASE + 4 * PAGE, 4 * PAGE, memory, offset=4 * PAGE)
    assert device.pin(BASE + 2 * PAGE, 4) == 0
    device.client.dma_unmap(BASE + 4 * PAGE, 4 * PAGE)
    assert device.pinned == 0
    assert device.pin(BASE + 2 * PAGE, 4) == errno.EINVAL
    assert device.pin(BASE + 2 * PAGE, 2) == 0
    assert device.peek(device.bus()) == b"page0002"


def test_an_iova_moves(device, memory):
    """As under a virtual IOMMU: the same IOVA, other memory; and other IOVAs, the same memory."""
    client = device.client
    for page in [0, 5, 9, 5]:
        client.dma_map(BASE, 2 * PAGE, memory, offset=page * PAGE)
        assert device.pin(BASE, 2) == 0
        assert device.peek(device.bus()) == b"page%04d" % page
        assert device.peek(device.bus(1)) == b"page%04d" % (page + 1)
        client.dma_unmap(BASE, 2 * PAGE)
    client.dma_map(BASE, PAGE, memory)
    client.dma_map(BASE + 16 * PAGE, PAGE, memory)
    assert device.pin(BASE) == 0
    assert device.pin(BASE + 16 * PAGE) == 0
    alias = device.bus()
    client.dma_unmap(BASE, PAGE)
    assert device.peek(alias) == b"page0000"


def test_pins_left_behind_stop_the_device(device, memory):
    """They are torn; the client is told by ERR; only a reset mends it. Nothing hangs."""
    client = device.client
    with vu.eventfds(1) as [err]:
        client.set_irqs(0x24, ERR, 0, 1, fds=[err])
        client.dma_map(BASE, 2 * PAGE, memory)
        client.dma_map(BASE + 4 * PAGE, 2 * PAGE, memory, offset=4 * PAGE)
        device.keep()
        assert device.pin(BASE, 2) == 0
        bus = device.bus()
        assert device.pin(BASE + 4 * PAGE) == 0
        assert not vu.signalled(err)
        client.dma_unmap(BASE, 2 * PAGE)
        assert vu.wait_signalled(err)
        assert device.pinned == 1
        assert device.peek(bus) == errno.EFAULT
        assert device.pin(BASE + 4 * PAGE) == errno.EIO
        assert device.dma_read(BASE + 4 * PAGE) == errno.EIO
        client.reset()
        testdev.enable_bus_master(client)
        assert device.dma_read(BASE + 4 * PAGE) == 0
        assert device.pin(BASE + 4 * PAGE) == 0
        assert device.peek(device.bus()) == b"page0004"


def test_a_client_goes_with_its_pins(memory):
    with served("pindev-1", "bus=contiguous") as server:
        for keep in [False, True]:
            with server.negotiated() as client:
                device = Pindev(client)
                client.dma_map(BASE, 8 * PAGE, memory)
                assert device.pin(BASE, 8) == 0
                assert device.pinned == 8
                if keep:
                    device.keep()
        with server.negotiated() as client:
            device = Pindev(client)
            assert device.pinned == 0
            client.dma_map(BASE, 8 * PAGE, memory)
            assert device.pin(BASE, 8) == 0


# ------------------------------------------------------------------ everything is pinned


@pytest.mark.parametrize("mode", MODES)
def test_pin_all(mode, memory):
    with served("pindev-all", f"bus={mode}") as server, server.negotiated() as client:
        device = Pindev(client)
        client.dma_map(BASE, 4 * PAGE, memory)
        client.dma_map(0, PAGE)
        assert device.pin(BASE + PAGE, 1, R) == 0
        bus = device.bus()
        assert device.peek(bus) == b"page0001"
        if mode != "paged":
            assert device.peek(bus + 2 * PAGE) == b"page0003"
        device.unpin(BASE + PAGE)
        assert device.peek(bus) == b"page0001"
        client.dma_unmap(BASE, 4 * PAGE)
        assert device.peek(bus) == errno.EFAULT
        # The page table of the device is full.
        with vu.memory_file(2048 * PAGE) as fd:
            with pytest.raises(vu.VfioError) as refused:
                client.dma_map(BASE, 2048 * PAGE, fd)
            assert refused.value.errno == errno.ENOSPC
