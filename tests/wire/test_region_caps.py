# SPDX-License-Identifier: BSD-3-Clause
"""Device-specific regions, the capabilities that explain regions, and the chain they come in. The
device is tests/drivers/umdev-capsdev.c."""

import errno
import mmap
import struct

import pytest
import vfiouser as vu
from vfiouser import PAGE, eventfds, signalled

TABLE, REGS, CALLBACKS, AREAS, MANY_AREAS = range(9, 14)
SIZES = {TABLE: PAGE, REGS: 40, CALLBACKS: 12, AREAS: 4 * PAGE}
VENDOR_TYPE = 1 << 31 | 0x1B36
MSIX_TABLE = 0x1000
SPARSE_SIZE, TYPE_SIZE, MSIX_SIZE = 16 + 16, 16, 8


def type_of(info):
    version, data = info.caps[vu.CAP_TYPE]
    assert version == 1 and len(data) == 8
    return struct.unpack("=II", data)


def test_number_of_regions(caps_client):
    assert caps_client.get_info()[1] == 14


@pytest.mark.parametrize("index", SIZES)
def test_types(caps_client, index):
    info = caps_client.region_info(index)
    assert (info.index, info.size) == (index, SIZES[index])
    assert type_of(info) == (VENDOR_TYPE, index - 8)
    assert info.flags & vu.REGION_FLAG_CAPS and info.argsz == len(info.raw)


@pytest.mark.parametrize("index", range(9))
def test_pci_regions_have_no_type(caps_client, index):
    assert vu.CAP_TYPE not in caps_client.region_info(index).caps


@pytest.mark.parametrize("index", [14, 15, 100, 0xFFFFFFFF])
def test_beyond_the_last(caps_client, index):
    caps_client.fails(errno.EINVAL, vu.DEVICE_GET_REGION_INFO, vu.region_info_body(index))
    caps_client.fails(errno.EINVAL, vu.REGION_READ, vu.region_body(index, 0, 4))
    caps_client.fails(errno.EINVAL, vu.REGION_WRITE, vu.region_body(index, 0, 4, b"abcd"))


def test_chain_of_two(caps_client):
    """Sparse areas and a type: each says where the next begins, the last says 0."""
    info = caps_client.region_info(AREAS)
    assert len(info.raw) == 32 + SPARSE_SIZE + TYPE_SIZE
    assert info.sparse_areas() == [(PAGE, PAGE)]
    assert list(info.caps) == [vu.CAP_SPARSE_MMAP, vu.CAP_TYPE]
    assert info.cap_offset % 8 == 0
    assert struct.unpack_from("=HHI", info.raw, 32) == (vu.CAP_SPARSE_MMAP, 1, 32 + SPARSE_SIZE)
    assert struct.unpack_from("=HHI", info.raw, 32 + SPARSE_SIZE) == (vu.CAP_TYPE, 1, 0)


@pytest.mark.parametrize("index, argsz, needed", [
    (TABLE, 32, 48), (TABLE, 47, 48),
    (AREAS, 32, 80), (AREAS, 64, 80), (AREAS, 79, 80),
    (vu.BAR0, 32, 40), (vu.BAR0, 39, 40),
])
def test_argsz_too_small_for_the_chain(caps_client, index, argsz, needed):
    """All of it or nothing: no fd and no flag, either, until the client asks again."""
    info = caps_client.region_info(index, argsz)
    assert len(info.raw) == 32 and info.argsz == needed
    assert not info.flags & vu.REGION_FLAG_CAPS and info.cap_offset == 0 and not info.fds
    again = caps_client.region_info(index, needed)
    assert len(again.raw) == needed and again.caps


def test_more_areas_than_a_reply_holds(caps_client):
    """An error whatever argsz is; the region can be read all the same."""
    for argsz in (32, 4096, 2 << 20, 0xFFFFFFFF):
        body = vu.region_info_body(MANY_AREAS, argsz)
        caps_client.fails(errno.E2BIG, vu.DEVICE_GET_REGION_INFO, body)
    assert caps_client.read(MANY_AREAS, 0, 4) == bytes(4)


# ------------------------------------------------------------------ what answers them


def test_read_only_memory(caps_client):
    content = bytes(n & 0xFF for n in range(PAGE))
    info = caps_client.region_info(TABLE)
    assert info.flags & 7 == vu.REGION_FLAG_READ | vu.REGION_FLAG_MMAP
    assert caps_client.read(TABLE, 0, PAGE) == content
    caps_client.fails(errno.EPERM, vu.REGION_WRITE, vu.region_body(TABLE, 0, 1, b"x"))
    with mmap.mmap(info.fds[0], PAGE, offset=info.offset, prot=mmap.PROT_READ) as table:
        assert table[:] == content
    with pytest.raises(PermissionError):
        mmap.mmap(info.fds[0], PAGE, offset=info.offset)


def test_registers(caps_client):
    assert not caps_client.region_info(REGS).fds
    caps_client.write32(REGS, 0, 50)
    assert caps_client.read32(REGS, 0) == 100
    caps_client.write(REGS, 33, b"1234567")
    assert caps_client.read(REGS, 33, 7) == b"1234567"
    caps_client.reset()
    assert caps_client.read32(REGS, 0) == 21
    assert caps_client.read(REGS, 33, 7) == bytes(7)


def test_callbacks(caps_client):
    assert caps_client.read(CALLBACKS, 3, 9) == bytes(range(3, 12))
    caps_client.fails(errno.ENOSPC, vu.REGION_WRITE, vu.region_body(CALLBACKS, 0, 1, b"x"))


def test_areas(caps_client):
    info = caps_client.region_info(AREAS)
    with mmap.mmap(info.fds[0], PAGE, offset=info.offset + PAGE) as area:
        area[:4] = b"area"
        assert caps_client.read(AREAS, PAGE - 1, 5) == b"\xffarea"


@pytest.mark.parametrize("index", SIZES)
def test_bounds(caps_client, index):
    size = SIZES[index]
    assert len(caps_client.read(index, 0, size)) == size
    for offset, count in ((size, 1), (size - 1, 2), (0, size + 1), (1 << 63, 1), ((1 << 64) - 1, 1)):
        caps_client.fails(errno.EINVAL, vu.REGION_READ, vu.region_body(index, offset, count))


def test_written_several_at_once(caps_client):
    writes = [(REGS, 16, b"sixth"), (AREAS, PAGE, b"four")]
    caps_client.call(vu.REGION_WRITE_MULTI, vu.write_multi_body(writes))
    assert caps_client.read(REGS, 16, 5) == b"sixth" and caps_client.read(AREAS, PAGE, 4) == b"four"


# ------------------------------------------------------------------ MSIX_MAPPABLE


def test_msix_mappable(caps_client):
    """Its own bit in the chain, no data, and no sparse areas: all of the BAR."""
    info = caps_client.region_info(vu.BAR0)
    assert info.caps == {vu.CAP_MSIX_MAPPABLE: (1, b"")}
    assert len(info.raw) == 32 + MSIX_SIZE


def test_not_where_nobody_asked_for_it(caps_client, client):
    """A BAR without the table; and one with it whose driver did not say so."""
    assert vu.CAP_MSIX_MAPPABLE not in caps_client.region_info(vu.BAR2).caps
    assert vu.CAP_MSIX_MAPPABLE not in client.region_info(vu.BAR1).caps


def test_mapping_over_the_table_is_not_the_table(caps_client):
    """The mapping reaches the memory object; vectors are masked by trapped accesses alone."""
    info = caps_client.region_info(vu.BAR0)
    with eventfds(1) as (fd,), mmap.mmap(info.fds[0], info.size, offset=info.offset) as bar:
        caps_client.set_irqs(vu.DATA_EVENTFD | vu.ACTION_TRIGGER, vu.MSIX, 0, 1, fds=[fd])
        entry = struct.pack("=IIII", 0xFEE00000, 0, 7, 0)
        caps_client.write(vu.BAR0, MSIX_TABLE, entry)
        bar[MSIX_TABLE : MSIX_TABLE + 16] = b"\xff" * 16
        assert caps_client.read(vu.BAR0, MSIX_TABLE, 16) == entry
        caps_client.set_irqs(vu.DATA_NONE | vu.ACTION_TRIGGER, vu.MSIX, 0, 1)
        assert signalled(fd) == 1
        bar[MSIX_TABLE + 0x800] = 0x5A
        assert caps_client.read(vu.BAR0, MSIX_TABLE + 0x800, 1) == b"\x5a"
