# SPDX-License-Identifier: BSD-3-Clause
"""DMA_MAP: as type1 v2, seen through what the device can then reach."""

import errno
import os
import struct

import pytest
import testdev as td
import vfiouser as vu
from vfiouser import PAGE

TOP = 1 << 64


def pages(*values):
    """A page for each value, filled with it."""
    return b"".join(bytes([v]) * PAGE for v in values)


def test_device_reads_what_was_mapped(dma_client):
    with vu.memory_file(2 * PAGE, pages(1, 2)) as fd:
        dma_client.dma_map(0x100000, 2 * PAGE, fd)
        assert td.dma_read(dma_client, 0x100000, 2 * PAGE) == pages(1, 2)


def test_device_writes_into_the_clients_file(dma_client):
    with vu.memory_file(2 * PAGE) as fd:
        dma_client.dma_map(0x100000, 2 * PAGE, fd)
        dma_client.write(vu.BAR0, 0, b"written by the device")
        assert td.dma(dma_client, td.DMA_FROM_BAR0, dst=0x100000 + PAGE - 7, length=21) == 0
        assert os.pread(fd, 21, PAGE - 7) == b"written by the device"


def test_offset_in_the_file(dma_client):
    with vu.memory_file(4 * PAGE, pages(1, 2, 3, 4)) as fd:
        dma_client.dma_map(0, PAGE, fd, offset=2 * PAGE)
        assert td.dma_read(dma_client, 0, PAGE) == pages(3)


def test_access_across_mappings(dma_client):
    """Neighbours in IOVA need not be neighbours anywhere else."""
    with vu.memory_file(PAGE, pages(1)) as a, vu.memory_file(PAGE, pages(2)) as b:
        dma_client.dma_map(0x11000, PAGE, b)
        dma_client.dma_map(0x10000, PAGE, a)
        assert td.dma_read(dma_client, 0x10000, 2 * PAGE) == pages(1, 2)
        assert td.dma(dma_client, td.DMA_COPY, src=0x10800, dst=0x10000, length=PAGE) == 0
        assert os.pread(a, PAGE, 0) == bytes([1]) * 2048 + bytes([2]) * 2048


def test_access_that_runs_into_a_hole(dma_client):
    """All or nothing: not a byte before the hole is written."""
    with vu.memory_file(PAGE) as fd:
        dma_client.dma_map(0x10000, PAGE, fd)
        dma_client.write(vu.BAR0, 0, b"\xff" * 32)
        for address in (0x10000 + PAGE - 16, 0x10000 - 16, 0x80000):
            result = td.dma(dma_client, td.DMA_FROM_BAR0, dst=address, length=32)
            assert result == errno.EFAULT
        assert os.pread(fd, PAGE, 0) == bytes(PAGE)


def test_access_that_wraps(dma_client):
    assert td.dma(dma_client, td.DMA_TO_BAR0, src=TOP - 16, length=32) == errno.EOVERFLOW


def test_last_page_of_the_address_space(dma_client):
    with vu.memory_file(PAGE, pages(9)) as fd:
        dma_client.dma_map(TOP - PAGE, PAGE, fd)
        assert td.dma_read(dma_client, TOP - PAGE, PAGE) == pages(9)
        assert dma_client.dma_unmap(TOP - PAGE, PAGE) == PAGE


@pytest.mark.parametrize(
    "flags, readable, writeable",
    [(vu.READABLE, 0, errno.EPERM), (vu.WRITEABLE, errno.EPERM, 0), (3, 0, 0)],
)
def test_protection(dma_client, flags, readable, writeable):
    with vu.memory_file(PAGE) as fd:
        dma_client.dma_map(0, PAGE, fd, flags)
        assert td.dma(dma_client, td.DMA_TO_BAR0, src=0, length=8) == readable
        assert td.dma(dma_client, td.DMA_FROM_BAR0, dst=0, length=8) == writeable


def test_bus_mastering_off(client):
    """A device whose command register does not let it master the bus does no DMA."""
    with vu.memory_file(PAGE) as fd:
        client.dma_map(0, PAGE, fd)
        assert td.dma(client, td.DMA_TO_BAR0, src=0, length=8) == errno.ENODEV
        td.enable_bus_master(client)
        assert td.dma(client, td.DMA_TO_BAR0, src=0, length=8) == 0


def test_memory_without_a_file(dma_client):
    """It can be mapped, overlaps like any other, and is unmapped; the device cannot copy it."""
    dma_client.dma_map(0x100000, 1 << 30)
    assert td.dma(dma_client, td.DMA_TO_BAR0, src=0x100000, length=8) == errno.EDEADLK
    dma_client.fails(errno.EEXIST, vu.DMA_MAP, vu.dma_map_body(0x100000, PAGE))
    assert dma_client.dma_unmap(0x100000, 1 << 30) == 1 << 30


def test_one_file_mapped_twice(dma_client):
    """Two names of one page."""
    with vu.memory_file(PAGE, b"one page") as fd:
        dma_client.dma_map(0, PAGE, fd)
        dma_client.dma_map(0x5000, PAGE, fd)
        assert td.dma(dma_client, td.DMA_COPY, src=0, dst=0x5010, length=8) == 0
        assert td.dma_read(dma_client, 0, 24) == b"one page" + bytes(8) + b"one page"


def test_mapping_outlives_the_clients_fd(dma_client):
    with vu.memory_file(PAGE, b"still there") as fd:
        dma_client.dma_map(0, PAGE, fd)
    assert td.dma_read(dma_client, 0, 11) == b"still there"


@pytest.mark.parametrize("with_fd", [True, False])
@pytest.mark.parametrize(
    "address, size",
    [
        (0, 0),
        (0x1000, 0),
        (0x800, PAGE),
        (1, PAGE),
        (0, PAGE - 1),
        (0, PAGE + 1),
        (0, 1),
        (TOP - PAGE, 2 * PAGE),
        (TOP - PAGE, TOP - PAGE),
        (0x8000000000000000, 0x8000000000001000),
    ],
)
def test_zero_unaligned_wrapping(client, address, size, with_fd):
    with vu.memory_file(16 * PAGE) as fd:
        body = vu.dma_map_body(address, size)
        client.fails(errno.EINVAL, vu.DMA_MAP, body, [fd] if with_fd else [])


@pytest.mark.parametrize(
    "offset, size",
    [
        (0, 5 * PAGE),
        (4 * PAGE, PAGE),
        (3 * PAGE, 2 * PAGE),
        (TOP - PAGE, PAGE),
        (TOP - PAGE, 2 * PAGE),
        (1 << 63, PAGE),
        ((1 << 63) - PAGE, PAGE),
        (0, 1 << 46),
    ],
)
def test_past_the_files_end(client, offset, size):
    with vu.memory_file(4 * PAGE) as fd:
        client.fails(errno.EINVAL, vu.DMA_MAP, vu.dma_map_body(0, size, 3, offset), [fd])


@pytest.mark.parametrize("offset", [1, 0x800, PAGE - 1, PAGE + 8])
def test_unaligned_offset(client, offset):
    with vu.memory_file(4 * PAGE) as fd:
        client.fails(errno.EINVAL, vu.DMA_MAP, vu.dma_map_body(0, PAGE, 3, offset), [fd])


@pytest.mark.parametrize("flags", [0, 4, 7, 0x13, 0x80000003, 0xFFFFFFFF])
def test_protections_that_do_not_exist(client, flags):
    with vu.memory_file(PAGE) as fd:
        client.fails(errno.EINVAL, vu.DMA_MAP, vu.dma_map_body(0, PAGE, flags), [fd])
    client.fails(errno.EINVAL, vu.DMA_MAP, vu.dma_map_body(0, PAGE, flags))


@pytest.mark.parametrize(
    "address, size",
    [
        (0x10000, 4 * PAGE),
        (0x10000, PAGE),
        (0x13000, PAGE),
        (0x0F000, 2 * PAGE),
        (0x13000, 2 * PAGE),
        (0x0F000, 6 * PAGE),
        (0, 1 << 40),
    ],
)
def test_overlap(dma_client, address, size):
    """EEXIST, and what was there stays."""
    with vu.memory_file(4 * PAGE, b"first") as fd, vu.memory_file(8 * PAGE, b"second") as other:
        dma_client.dma_map(0x10000, 4 * PAGE, fd)
        fds = [other] if size <= 8 * PAGE else []
        dma_client.fails(errno.EEXIST, vu.DMA_MAP, vu.dma_map_body(address, size), fds)
        assert td.dma_read(dma_client, 0x10000, 5) == b"first"


def test_neighbours_do_not_overlap(client):
    with vu.memory_file(PAGE) as fd:
        for address in (0x11000, 0x10000, 0x12000):
            client.dma_map(address, PAGE, fd)


@pytest.mark.parametrize("argsz", [0, 16, 31])
def test_small_argsz(client, argsz):
    client.fails(errno.EINVAL, vu.DMA_MAP, vu.dma_map_body(0, PAGE, argsz=argsz))


@pytest.mark.parametrize("length", [0, 1, 8, 24, 31, 33, 64, 4096])
def test_wrong_body_length(client, length):
    body = vu.dma_map_body(0, PAGE).ljust(length, b"\0")[:length]
    client.fails(errno.EINVAL, vu.DMA_MAP, body)
    with vu.memory_file(PAGE) as fd:
        client.fails(errno.EINVAL, vu.DMA_MAP, body, [fd])


def test_a_failed_map_maps_nothing(dma_client):
    with vu.memory_file(PAGE) as fd:
        dma_client.fails(errno.EINVAL, vu.DMA_MAP, vu.dma_map_body(0, 2 * PAGE), [fd])
        assert td.dma(dma_client, td.DMA_TO_BAR0, src=0, length=8) == errno.EFAULT
        assert dma_client.dma_unmap(0, 2 * PAGE) == 0


def test_entry_limit(client):
    """65,535 mappings, as the kernel's default; the next one gets ENOSPC; all go at once."""
    limit = 65535
    step = 1024
    for first in range(0, limit, step):
        client.send(
            b"".join(
                vu.message(vu.DMA_MAP, vu.dma_map_body(n * 2 * PAGE, PAGE), flags=vu.NO_REPLY)
                for n in range(first, min(first + step, limit))
            )
        )
    client.fails(errno.ENOSPC, vu.DMA_MAP, vu.dma_map_body(limit * 2 * PAGE, PAGE))
    assert client.dma_unmap(0, PAGE) == PAGE
    client.dma_map(limit * 2 * PAGE, PAGE)
    assert client.dma_unmap(0, 0, vu.UNMAP_ALL) == limit * PAGE


def test_memory_is_gone_with_the_client(server):
    """The next client finds nothing of the last one's."""
    with server.negotiated() as client, vu.memory_file(PAGE) as fd:
        client.dma_map(0, PAGE, fd)
    with server.negotiated() as client:
        td.enable_bus_master(client)
        assert td.dma(client, td.DMA_TO_BAR0, src=0, length=8) == errno.EFAULT
        assert struct.unpack("=Q", client.read(vu.BAR1, td.REG_DMA_SRC, 8)) == (0,)
