# SPDX-License-Identifier: BSD-3-Clause
"""DMA_UNMAP: as type1 v2. Whole mappings only; none is a success; the reply says how much."""

import errno
import struct

import pytest
import testdev as td
import vfiouser as vu
from vfiouser import PAGE

TOP = 1 << 64

# holddev's registers, in BAR0
HOLD_ADDR, HOLD_LEN, HOLD = 0x00, 0x08, 0x0C
HOLD_EAGER, HOLD_RESULT, HOLD_RELEASED = 0x10, 0x14, 0x18


def test_device_no_longer_reaches_it(dma_client):
    with vu.memory_file(PAGE) as fd:
        dma_client.dma_map(0x10000, PAGE, fd)
        assert td.dma(dma_client, td.DMA_TO_BAR0, src=0x10000, length=8) == 0
        assert dma_client.dma_unmap(0x10000, PAGE) == PAGE
        assert td.dma(dma_client, td.DMA_TO_BAR0, src=0x10000, length=8) == errno.EFAULT


def test_reply_carries_the_entry(client):
    client.dma_map(0x10000, 2 * PAGE)
    reply = client.call(vu.DMA_UNMAP, vu.dma_unmap_body(0x10000, 2 * PAGE))
    assert struct.unpack("=IIQQ", reply.body) == (24, 0, 0x10000, 2 * PAGE)


def test_map_again_elsewhere_and_here(dma_client):
    with vu.memory_file(PAGE, b"old") as old, vu.memory_file(PAGE, b"new") as new:
        dma_client.dma_map(0, PAGE, old)
        dma_client.dma_unmap(0, PAGE)
        dma_client.dma_map(0, PAGE, new)
        assert td.dma_read(dma_client, 0, 3) == b"new"


def test_several_mappings_in_one_range(client):
    for address in (0x10000, 0x12000, 0x20000):
        client.dma_map(address, PAGE)
    client.dma_map(0x40000, PAGE)
    assert client.dma_unmap(0x10000, 0x20000) == 3 * PAGE
    assert client.dma_unmap(0x40000, PAGE) == PAGE


def test_nothing_mapped_there(client):
    assert client.dma_unmap(0x10000, PAGE) == 0
    client.dma_map(0x10000, PAGE)
    assert client.dma_unmap(0x11000, 1 << 40) == 0
    assert client.dma_unmap(0, 0x10000) == 0


def test_whole_address_space(client):
    client.dma_map(0, PAGE)
    client.dma_map(TOP - PAGE, PAGE)
    assert client.dma_unmap(PAGE, TOP - PAGE) == PAGE
    assert client.dma_unmap(0, TOP - PAGE) == PAGE


@pytest.mark.parametrize(
    "address, size",
    [
        (0x10000, PAGE),
        (0x13000, PAGE),
        (0x11000, 2 * PAGE),
        (0x0F000, 2 * PAGE),
        (0x13000, 2 * PAGE),
        (0, 0x11000),
        (0x11000, 1 << 40),
    ],
)
def test_bisecting_a_mapping(dma_client, address, size):
    """EINVAL, and the mapping stays whole, others in the range too."""
    with vu.memory_file(4 * PAGE, b"whole") as fd:
        dma_client.dma_map(0x10000, 4 * PAGE, fd)
        dma_client.dma_map(0, PAGE, fd)
        dma_client.dma_map(0x80000, PAGE, fd)
        dma_client.fails(errno.EINVAL, vu.DMA_UNMAP, vu.dma_unmap_body(address, size))
        assert td.dma_read(dma_client, 0x10000, 4 * PAGE)[:5] == b"whole"
        assert dma_client.dma_unmap(0, 1 << 40) == 6 * PAGE


@pytest.mark.parametrize(
    "address, size",
    [
        (0, 0),
        (0x10000, 0),
        (0x10001, PAGE),
        (0x10800, PAGE),
        (0x10000, 1),
        (0x10000, PAGE - 1),
        (0x10000, PAGE + 1),
        (TOP - PAGE, 2 * PAGE),
        (0x10000, TOP - PAGE),
    ],
)
def test_zero_unaligned_wrapping(client, address, size):
    client.dma_map(0x10000, PAGE)
    client.fails(errno.EINVAL, vu.DMA_UNMAP, vu.dma_unmap_body(address, size))
    assert client.dma_unmap(0x10000, PAGE) == PAGE


def test_unmap_all(dma_client):
    with vu.memory_file(4 * PAGE) as fd:
        for address in (0, 0x10000, TOP - PAGE):
            dma_client.dma_map(address, PAGE, fd)
        assert dma_client.dma_unmap(0, 0, vu.UNMAP_ALL) == 3 * PAGE
        assert dma_client.dma_unmap(0, 0, vu.UNMAP_ALL) == 0
        assert td.dma(dma_client, td.DMA_TO_BAR0, src=0, length=8) == errno.EFAULT


@pytest.mark.parametrize("address, size", [(0, PAGE), (PAGE, 0), (PAGE, PAGE)])
def test_unmap_all_with_a_range(client, address, size):
    client.dma_map(0, PAGE)
    client.fails(errno.EINVAL, vu.DMA_UNMAP, vu.dma_unmap_body(address, size, vu.UNMAP_ALL))
    assert client.dma_unmap(0, 0, vu.UNMAP_ALL) == PAGE


@pytest.mark.parametrize("flags", [4, 8, 0x80000000, 0xFFFFFFFC])
def test_unknown_flags(client, flags):
    client.dma_map(0, PAGE)
    client.fails(errno.EINVAL, vu.DMA_UNMAP, vu.dma_unmap_body(0, PAGE, flags))
    assert client.dma_unmap(0, PAGE) == PAGE


def test_dirty_bitmap_without_a_log(client):
    """It is refused, and nothing is unmapped. The bitmap's description, page size and size in bytes,
    would follow the structure."""
    client.dma_map(0, PAGE)
    body = vu.dma_unmap_body(0, PAGE, vu.UNMAP_GET_DIRTY_BITMAP, argsz=48)
    for tail in (b"", struct.pack("=QQ", PAGE, 8)):
        reply = client.try_call(vu.DMA_UNMAP, body + tail)
        assert reply.errno in (errno.EOPNOTSUPP, errno.EINVAL)
    assert client.dma_unmap(0, PAGE) == PAGE


@pytest.mark.parametrize("argsz", [0, 23])
def test_small_argsz(client, argsz):
    client.dma_map(0, PAGE)
    client.fails(errno.EINVAL, vu.DMA_UNMAP, vu.dma_unmap_body(0, PAGE, argsz=argsz))
    assert client.dma_unmap(0, PAGE) == PAGE


@pytest.mark.parametrize("length", [0, 8, 23, 25, 32, 4096])
def test_wrong_body_length(client, length):
    body = vu.dma_unmap_body(0, PAGE).ljust(length, b"\0")[:length]
    client.fails(errno.EINVAL, vu.DMA_UNMAP, body)


def test_driver_is_told_first(client):
    client.dma_map(0x10000, 2 * PAGE)
    before = td.count(client, td.COUNT_DMA_UNMAP)
    client.dma_unmap(0x10000, 2 * PAGE)
    assert td.count(client, td.COUNT_DMA_UNMAP) > before
    first = client.read64(vu.BAR1, td.REG_UNMAP_FIRST)
    last = client.read64(vu.BAR1, td.REG_UNMAP_LAST)
    assert first <= 0x10000 and last >= 0x11FFF


def test_driver_is_not_told_of_a_refused_unmap(client):
    client.dma_map(0x10000, 2 * PAGE)
    before = td.count(client, td.COUNT_DMA_UNMAP)
    client.fails(errno.EINVAL, vu.DMA_UNMAP, vu.dma_unmap_body(0x10000, PAGE))
    assert td.count(client, td.COUNT_DMA_UNMAP) == before


def hold(client, milliseconds, eager=False):
    """The device takes a window into the page at 0x10000."""
    client.write64(vu.BAR0, HOLD_ADDR, 0x10000)
    client.write32(vu.BAR0, HOLD_LEN, PAGE)
    client.write32(vu.BAR0, HOLD_EAGER, int(eager))
    client.write32(vu.BAR0, HOLD, milliseconds)
    assert client.read32(vu.BAR0, HOLD_RESULT) == 0


def test_unmap_waits_for_the_devices_window(hold_client):
    """When the reply comes, the device has let go."""
    with vu.memory_file(PAGE) as fd:
        hold_client.dma_map(0x10000, PAGE, fd)
        hold(hold_client, 300)
        assert hold_client.read32(vu.BAR0, HOLD_RELEASED) == 0
        assert hold_client.dma_unmap(0x10000, PAGE) == PAGE
        # The count goes up just after the window is given back.
        while hold_client.read32(vu.BAR0, HOLD_RELEASED) == 0:
            pass


def test_driver_can_let_go_when_told(hold_client):
    """Ten minutes' window, given up in dma_unmap()."""
    with vu.memory_file(PAGE) as fd:
        hold_client.dma_map(0x10000, PAGE, fd)
        hold(hold_client, 600000, eager=True)
        assert hold_client.dma_unmap(0x10000, PAGE) == PAGE


def test_unmap_elsewhere_does_not_wait(hold_client):
    with vu.memory_file(2 * PAGE) as fd:
        hold_client.dma_map(0x10000, PAGE, fd)
        hold_client.dma_map(0x20000, PAGE, fd, offset=PAGE)
        hold(hold_client, 600000)
        assert hold_client.dma_unmap(0x20000, PAGE) == PAGE
        assert hold_client.read32(vu.BAR0, HOLD_RELEASED) == 0
        # And let go, so that closing need not wait.
        hold_client.write32(vu.BAR0, HOLD_EAGER, 1)


def test_client_leaves_while_the_device_holds_its_memory(hold_client):
    """The check after the test waits until nothing of this client is left."""
    with vu.memory_file(PAGE) as fd:
        hold_client.dma_map(0x10000, PAGE, fd)
        hold(hold_client, 300)
        hold_client.close()
