# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_GET_REGION_INFO, and mapping what it gives."""

import errno
import mmap
import os
import struct

import pytest
import testdev as td
import vfiouser as vu
from vfiouser import PAGE

RW = vu.REGION_FLAG_READ | vu.REGION_FLAG_WRITE


@pytest.mark.parametrize("index, size", list(enumerate(td.BAR_SIZES)))
def test_bars(client, index, size):
    info = client.region_info(index)
    assert (info.index, info.size) == (index, size)
    readonly = index == vu.BAR4
    assert info.flags & RW == (vu.REGION_FLAG_READ if readonly else RW)
    mappable = index in (vu.BAR0, vu.BAR3, vu.BAR4)
    assert bool(info.flags & vu.REGION_FLAG_MMAP) == mappable
    assert len(info.fds) == mappable
    assert info.argsz == len(info.raw)


def test_config_space(client):
    info = client.region_info(vu.CONFIG)
    assert (info.size, info.flags) == (4096, RW) and not info.fds


def test_config_space_of_conventional_pci(plain_client):
    assert plain_client.region_info(vu.CONFIG).size == 256


@pytest.mark.parametrize("index", [vu.ROM, vu.VGA])
def test_regions_that_are_not_there(client, index):
    """Success with size 0, as the kernel's."""
    info = client.region_info(index)
    assert (info.size, info.flags & vu.REGION_FLAG_MMAP, info.fds) == (0, 0, [])


def test_bars_that_are_not_there(plain_client):
    assert plain_client.region_info(vu.BAR0).size == 4096
    for index in range(1, 6):
        assert plain_client.region_info(index).size == 0


@pytest.mark.parametrize("index", [9, 10, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])
def test_index_out_of_range(client, index):
    client.fails(errno.EINVAL, vu.DEVICE_GET_REGION_INFO, vu.region_info_body(index))


def test_sparse_areas(client):
    info = client.region_info(vu.BAR3)
    assert info.flags & vu.REGION_FLAG_CAPS and info.argsz == len(info.raw)
    assert info.sparse_areas() == td.SPARSE_AREAS


def test_whole_region_has_no_sparse_capability(client):
    assert vu.CAP_SPARSE_MMAP not in client.region_info(vu.BAR0).caps


@pytest.mark.parametrize("argsz", [32, 33, 40, 63])
def test_argsz_too_small_for_the_capabilities(client, argsz):
    """The fixed part alone, the size that is needed, and no trace of capabilities: some clients
    would follow FLAG_CAPS to offset 0."""
    info = client.region_info(vu.BAR3, argsz)
    assert len(info.raw) == 32 and info.argsz == 32 + 16 + 2 * 16
    assert not info.flags & vu.REGION_FLAG_CAPS and info.cap_offset == 0
    assert client.region_info(vu.BAR3, info.argsz).sparse_areas() == td.SPARSE_AREAS


def test_argsz_that_just_fits(client):
    info = client.region_info(vu.BAR3, 32 + 16 + 2 * 16)
    assert info.sparse_areas() == td.SPARSE_AREAS


@pytest.mark.parametrize("argsz", [65536, 0x7FFFFFFF, 0xFFFFFFFF])
def test_argsz_larger_than_needed(client, argsz):
    info = client.region_info(vu.BAR3, argsz)
    assert info.argsz == len(info.raw) == 32 + 16 + 2 * 16


@pytest.mark.parametrize("argsz", [0, 16, 31])
def test_small_argsz(client, argsz):
    client.fails(errno.EINVAL, vu.DEVICE_GET_REGION_INFO, vu.region_info_body(0, argsz))


@pytest.mark.parametrize("length", [0, 8, 31, 33, 48, 4096])
def test_wrong_body_length(client, length):
    body = vu.region_info_body(0).ljust(length, b"\0")[:length]
    client.fails(errno.EINVAL, vu.DEVICE_GET_REGION_INFO, body)


def test_mapped_memory_is_what_messages_see(client):
    info = client.region_info(vu.BAR0)
    with mmap.mmap(info.fds[0], info.size, offset=info.offset) as bar:
        bar[100:105] = b"hello"
        assert client.read(vu.BAR0, 100, 5) == b"hello"
        client.write(vu.BAR0, info.size - 5, b"world")
        assert bar[-5:] == b"world"


def test_mapped_sparse_area_is_what_messages_see(client):
    info = client.region_info(vu.BAR3)
    for offset, size in info.sparse_areas():
        with mmap.mmap(info.fds[0], size, offset=info.offset + offset) as area:
            area[0:4] = b"head"
            area[size - 4 : size] = b"tail"
            assert client.read(vu.BAR3, offset, 4) == b"head"
            client.write(vu.BAR3, offset + size - 4, b"TAIL")
            assert area[size - 4 : size] == b"TAIL"


def test_read_only_memory_cannot_be_mapped_writeable(client):
    info = client.region_info(vu.BAR4)
    with mmap.mmap(info.fds[0], PAGE, offset=info.offset, prot=mmap.PROT_READ) as bar:
        assert bar[:] == td.pattern(0, PAGE)
    with pytest.raises(PermissionError):
        mmap.mmap(info.fds[0], PAGE, offset=info.offset, prot=mmap.PROT_READ | mmap.PROT_WRITE)


def test_read_only_memory_cannot_be_reopened_writeable(client):
    """By way of /proc a holder of a memfd gets another access mode: seals must stand in the way."""
    info = client.region_info(vu.BAR4)
    with pytest.raises(OSError):
        os.pwrite(info.fds[0], b"x", info.offset)
    with pytest.raises(PermissionError):
        fd = os.open(f"/proc/self/fd/{info.fds[0]}", os.O_RDWR)
        try:
            os.pwrite(fd, b"x", info.offset)
        finally:
            os.close(fd)
    assert client.read(vu.BAR4, 0, 1) == td.pattern(0, 1)


def test_client_cannot_resize_device_memory(client):
    """Or it would take the driver down with a SIGBUS."""
    for index in (vu.BAR0, vu.BAR3, vu.BAR4):
        fd = client.region_info(index).fds[0]
        for size in (0, PAGE // 2, 1 << 30):
            with pytest.raises(OSError):
                os.ftruncate(fd, size)
    assert client.read(vu.BAR0, 0xFFFF, 1) == b"\0"


def test_mapped_memory_outlives_the_connection(server):
    with server.negotiated() as client:
        info = client.region_info(vu.BAR0)
        with mmap.mmap(info.fds[0], info.size, offset=info.offset) as bar:
            client.close()
            bar[0:4] = b"late"
            assert bar[0:4] == b"late"


def test_every_reply_has_its_own_fd(client):
    """A client may ask again and again; it closes what it gets, the server what it sent."""
    for _ in range(50):
        reply = client.call(vu.DEVICE_GET_REGION_INFO, vu.region_info_body(0, 4096))
        assert len(reply.fds) == 1
        client.received_fds.clear()
        reply.close_fds()


def test_offsets_are_inside_the_file(client):
    """What a client maps by the book exists to the last byte."""
    for index in (vu.BAR0, vu.BAR3, vu.BAR4):
        info = client.region_info(index)
        assert info.offset % PAGE == 0
        assert info.offset + info.size <= os.fstat(info.fds[0]).st_size


def test_reserved_fields_are_not_the_servers_business(client):
    """The kernel ignores what a request carries in the reply's fields."""
    body = struct.pack("=IIIIQQ", 4096, 0xFFFFFFFF, 0, 77, 88, 99)
    reply = client.try_call(vu.DEVICE_GET_REGION_INFO, body)
    assert reply.errno in (0, errno.EINVAL)
    client.check_in_step()
