# SPDX-License-Identifier: BSD-3-Clause
"""REGION_WRITE and REGION_WRITE_MULTI."""

import errno
import struct

import pytest
import testdev as td
import vfiouser as vu

TOP = 1 << 64


def refused(client, number, region, offset, data):
    body = vu.region_body(region, offset, len(data), data)
    client.fails(number, vu.REGION_WRITE, body)


def noise(size, seed=1):
    """Bytes that tell a shifted or torn copy from a right one."""
    return bytes((n * 31 + (n >> 8) * seed + seed) & 0xFF for n in range(size))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 16, 4095, 4096, 65536])
@pytest.mark.parametrize("offset", [0, 1, 4093])
def test_callback_gets_every_byte_once(client, offset, count):
    sum_before = client.read64(vu.BAR1, td.REG_WRITE_SUM)
    calls_before = td.count(client, td.COUNT_WRITE)
    data = noise(count)
    client.write(vu.BAR2, offset, data)
    assert client.read64(vu.BAR1, td.REG_WRITE_SUM) - sum_before == sum(data)
    assert td.count(client, td.COUNT_WRITE) == calls_before + 1


@pytest.mark.parametrize("count", [1, 3, 8, 4097, 65536])
def test_memory_keeps_what_is_written(client, count):
    data = noise(count)
    client.write(vu.BAR0, 0x10000 - count, data)
    assert client.read(vu.BAR0, 0x10000 - count, count) == data


def test_largest_write(client):
    data = noise(vu.MAX_DATA)
    client.write(vu.BAR2, 0, data)
    assert client.read64(vu.BAR1, td.REG_WRITE_SUM) == sum(data)


def test_more_than_a_message_carries(client):
    """Refused, or, past what any message may be, the end of the connection; nothing is written."""
    calls = td.count(client, td.COUNT_WRITE)
    body = vu.region_body(vu.BAR2, 0, vu.MAX_DATA + 1, bytes(vu.MAX_DATA + 1))
    reply = client.try_call(vu.REGION_WRITE, body)
    assert reply.errno in (errno.EINVAL, errno.E2BIG)
    client.check_in_step()
    assert td.count(client, td.COUNT_WRITE) == calls


def test_registers_of_any_size_and_alignment(client):
    client.write(vu.BAR1, td.REG_SCRATCH, bytes([1, 2, 3, 4]))
    client.write(vu.BAR1, td.REG_SCRATCH + 1, bytes([9, 8]))
    assert client.read(vu.BAR1, td.REG_SCRATCH, 4) == bytes([1, 9, 8, 4])
    client.write64(vu.BAR1, td.REG_DMA_SRC, 0x1122334455667788)
    client.write32(vu.BAR1, td.REG_DMA_SRC + 4, 0xAABBCCDD)
    assert client.read64(vu.BAR1, td.REG_DMA_SRC) == 0xAABBCCDD55667788


def test_read_only_register_bits(client):
    client.write32(vu.BAR1, td.REG_MAGIC, 0)
    assert client.read32(vu.BAR1, td.REG_MAGIC) == td.MAGIC


def test_io_ports(client):
    client.write(vu.BAR5, 60, b"port")
    assert client.read(vu.BAR5, 60, 4) == b"port"


def test_read_only_region(client):
    for offset, count in ((0, 1), (0, 4), (4092, 4), (0, 4096)):
        refused(client, errno.EPERM, vu.BAR4, offset, bytes(count))
    assert client.read(vu.BAR4, 0, 4096) == td.pattern(0, 4096)


def test_sparse_region_across_its_borders(client):
    calls = td.count(client, td.COUNT_WRITE)
    before = client.read64(vu.BAR1, td.REG_WRITE_SUM)
    client.write(vu.BAR3, 0xFF0, b"\1" * 16 + b"\2" * 16)
    assert client.read(vu.BAR3, 0x1000, 17) == b"\2" * 16 + b"\0"
    assert client.read64(vu.BAR1, td.REG_WRITE_SUM) - before == 16
    assert td.count(client, td.COUNT_WRITE) == calls + 1


@pytest.mark.parametrize("region", [0, 1, 2, 3, 5])
def test_bounds(client, region):
    size = td.BAR_SIZES[region]
    client.write(region, size - 1, b"\0")
    for offset, count in (
        (size, 1),
        (size - 1, 2),
        (size - 3, 4),
        (1 << 32, 4),
        (1 << 63, 4),
        (TOP - 1, 1),
        (TOP - 4, 8),
        (size - 4, 0x10000),
    ):
        refused(client, errno.EINVAL, region, offset, bytes(count))


@pytest.mark.parametrize("region", [vu.ROM, vu.VGA, 9, 255, 0x80000000, 0xFFFFFFFF])
def test_regions_that_are_not_there(client, region):
    refused(client, errno.EINVAL, region, 0, bytes(4))


def test_empty_write(client):
    client.write(vu.BAR0, 0, b"")


@pytest.mark.parametrize("number", [errno.EIO, errno.ENXIO])
def test_driver_fails(client, number):
    client.write32(vu.BAR1, td.REG_FAIL, number)
    refused(client, number, vu.BAR2, 0, b"data")
    client.write32(vu.BAR1, td.REG_FAIL, 0)
    client.write(vu.BAR2, 0, b"data")


@pytest.mark.parametrize(
    "count, present",
    [(4, 0), (4, 3), (4, 5), (0, 4), (0x10000, 8), (0xFFFFFFFF, 8), (0xFFFFFFF0, 0)],
)
def test_count_that_is_not_the_bodys(client, count, present):
    body = vu.region_body(vu.BAR0, 0, count, b"\xff" * present)
    client.fails(errno.EINVAL, vu.REGION_WRITE, body)
    assert client.read(vu.BAR0, 0, 8) == bytes(8)


@pytest.mark.parametrize("length", [0, 1, 8, 15])
def test_short_body(client, length):
    client.fails(errno.EINVAL, vu.REGION_WRITE, vu.region_body(vu.BAR0, 0, 0)[:length])


def test_posted_write(client):
    """No reply, and done before the next request is."""
    client.post_write(vu.BAR0, 0, b"posted")
    assert client.read(vu.BAR0, 0, 6) == b"posted"
    client.expect_silence()


def test_many_posted_writes_in_order(client):
    for n in range(2000):
        client.post_write(vu.BAR1, td.REG_SCRATCH, struct.pack("=I", n))
    assert client.read32(vu.BAR1, td.REG_SCRATCH) == 1999


def test_failed_posted_write(client):
    client.post_write(vu.BAR4, 0, b"read-only")
    client.post_write(99, 0, b"nowhere")
    client.check_in_step()


# ------------------------------------------------------------------ REGION_WRITE_MULTI


def test_write_multi(client):
    writes = [(vu.BAR0, 8 * n, bytes([n] * (1 + n % 8))) for n in range(200)]
    reply = client.call(vu.REGION_WRITE_MULTI, vu.write_multi_body(writes))
    assert struct.unpack("=Q", reply.body) == (200,)
    for _, offset, data in writes:
        assert client.read(vu.BAR0, offset, 8) == data.ljust(8, b"\0")


def test_write_multi_of_nothing(client):
    reply = client.call(vu.REGION_WRITE_MULTI, vu.write_multi_body([]))
    assert struct.unpack("=Q", reply.body) == (0,)


def test_write_multi_to_several_regions(client):
    writes = [(vu.BAR0, 0, b"memory"), (vu.BAR1, td.REG_SCRATCH, b"regs"), (vu.BAR5, 0, b"io")]
    client.call(vu.REGION_WRITE_MULTI, vu.write_multi_body(writes))
    assert client.read(vu.BAR0, 0, 6) == b"memory"
    assert client.read(vu.BAR1, td.REG_SCRATCH, 4) == b"regs"
    assert client.read(vu.BAR5, 0, 2) == b"io"


@pytest.mark.parametrize("count", [0, 1, 3, 1 << 32, 1 << 60, (1 << 64) - 1, ((1 << 64) // 24) + 1])
def test_write_multi_count_that_is_not_the_bodys(client, count):
    """(2^64 / 24) + 1 entries: their bytes, multiplied out, wrap to a small number."""
    body = vu.write_multi_body([(vu.BAR0, 0, b"\xff" * 8)] * 2, count)
    client.fails(errno.EINVAL, vu.REGION_WRITE_MULTI, body)
    assert client.read(vu.BAR0, 0, 8) == bytes(8)


@pytest.mark.parametrize("size", [9, 24, 0xFFFFFFFF])
def test_write_multi_entry_larger_than_its_data(client, size):
    body = struct.pack("=QQII", 1, 0, vu.BAR0, size) + b"\xff" * 8
    client.fails(errno.EINVAL, vu.REGION_WRITE_MULTI, body)


@pytest.mark.parametrize("length", [0, 7, 9, 16, 31, 33])
def test_write_multi_wrong_body_length(client, length):
    body = vu.write_multi_body([(vu.BAR0, 0, b"\xff" * 8)]).ljust(length, b"\0")[:length]
    client.fails(errno.EINVAL, vu.REGION_WRITE_MULTI, body)


@pytest.mark.parametrize(
    "number, region, offset",
    [(errno.EPERM, vu.BAR4, 0), (errno.EINVAL, vu.BAR0, 0x10000), (errno.EINVAL, 9, 0)],
)
def test_write_multi_with_a_bad_entry(client, number, region, offset):
    writes = [(vu.BAR0, 0, b"before"), (region, offset, b"bad")]
    client.fails(number, vu.REGION_WRITE_MULTI, vu.write_multi_body(writes))
