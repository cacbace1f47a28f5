# SPDX-License-Identifier: BSD-3-Clause
"""REGION_READ."""

import errno

import pytest
import testdev as td
import vfiouser as vu

TOP = 1 << 64


def refused(client, number, region, offset, count):
    client.fails(number, vu.REGION_READ, vu.region_body(region, offset, count))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 16, 4095, 4096, 65536])
@pytest.mark.parametrize("offset", [0, 1, 4093, 0x12345])
def test_callback_gives_the_right_bytes(client, offset, count):
    assert client.read(vu.BAR2, offset, count) == td.pattern(offset, count)


def test_one_request_is_one_callback(client):
    before = td.count(client, td.COUNT_READ)
    client.read(vu.BAR2, 0, 100000)
    assert td.count(client, td.COUNT_READ) == before + 1


def test_largest_read(client):
    assert client.read(vu.BAR2, 4096, vu.MAX_DATA) == td.pattern(4096, vu.MAX_DATA)


@pytest.mark.parametrize("count", [vu.MAX_DATA + 1, 2 * vu.MAX_DATA, 0x7FFFFFFF, 0xFFFFFFFF])
def test_more_than_a_message_carries(client, count):
    reply = client.try_call(vu.REGION_READ, vu.region_body(vu.BAR2, 0, count))
    assert reply.errno in (errno.EINVAL, errno.E2BIG)
    client.check_in_step()


def test_registers(client):
    assert client.read32(vu.BAR1, td.REG_MAGIC) == td.MAGIC
    assert client.read(vu.BAR1, td.REG_MAGIC + 1, 2) == b"es"
    client.write32(vu.BAR1, td.REG_SCRATCH, 0x01020304)
    assert client.read(vu.BAR1, td.REG_MAGIC, 8) == b"test" + bytes([4, 3, 2, 1])


def test_memory_starts_as_zeros(client):
    assert client.read(vu.BAR0, 0, 0x10000) == bytes(0x10000)


def test_read_only_memory(client):
    assert client.read(vu.BAR4, 0, 4096) == td.pattern(0, 4096)


def test_io_ports(client):
    assert len(client.read(vu.BAR5, 0, 64)) == 64


def test_sparse_region_across_its_borders(client):
    """Mapped areas are memory, the rest is the driver's; one access may take in both."""
    client.write(vu.BAR3, 0x1000, b"\xaa" * 0x2000)
    assert client.read(vu.BAR3, 0xFF0, 32) == td.pattern(0xFF0, 16) + b"\xaa" * 16
    assert client.read(vu.BAR3, 0x2FF0, 32) == b"\xaa" * 16 + td.pattern(0x3000, 16)
    everything = client.read(vu.BAR3, 0, 0x10000)
    assert everything[:0x1000] == td.pattern(0, 0x1000)
    assert everything[0x1000:0x3000] == b"\xaa" * 0x2000
    assert everything[0x3000:0x8000] == td.pattern(0x3000, 0x5000)
    assert everything[0x8000:0xC000] == bytes(0x4000)
    assert everything[0xC000:] == td.pattern(0xC000, 0x4000)


@pytest.mark.parametrize("region", range(6))
def test_bounds(client, region):
    size = td.BAR_SIZES[region]
    assert len(client.read(region, size - 1, 1)) == 1
    assert len(client.read(region, size - 4, 4)) == 4
    for offset, count in (
        (size, 1),
        (size - 1, 2),
        (size - 3, 4),
        (size + 1, 1),
        (1 << 32, 4),
        ((1 << 32) + 4, 4),
        (1 << 40, 4),
        (1 << 63, 4),
        (TOP - 1, 1),
        (TOP - 4, 4),
        (TOP - 4, 8),
        (TOP - 1, 0x10000),
    ):
        refused(client, errno.EINVAL, region, offset, count)


def test_config_space_bounds(client):
    assert len(client.read(vu.CONFIG, 0, 4096)) == 4096
    for offset, count in ((4096, 1), (4095, 2), (TOP - 1, 2), (0, 4097)):
        refused(client, errno.EINVAL, vu.CONFIG, offset, count)


@pytest.mark.parametrize("region", [9, 10, 63, 255, 256, 0x10000, 0x80000000, 0xFFFFFFFF])
def test_region_out_of_range(client, region):
    refused(client, errno.EINVAL, region, 0, 4)


@pytest.mark.parametrize("region", [vu.ROM, vu.VGA])
def test_regions_that_are_not_there(client, region):
    refused(client, errno.EINVAL, region, 0, 4)


@pytest.mark.parametrize("region", range(1, 6))
def test_bars_that_are_not_there(plain_client, region):
    refused(plain_client, errno.EINVAL, region, 0, 4)


def test_empty_read(client):
    assert client.read(vu.BAR2, 0, 0) == b""
    assert client.read(vu.BAR2, td.BAR_SIZES[2], 0) == b""


@pytest.mark.parametrize("number", [errno.EIO, errno.ENXIO, errno.EBUSY])
def test_driver_fails(client, number):
    """Its errno, no data, and the device goes on."""
    client.write32(vu.BAR1, td.REG_FAIL, number)
    refused(client, number, vu.BAR2, 0, 64)
    client.write32(vu.BAR1, td.REG_FAIL, 0)
    assert client.read(vu.BAR2, 0, 4) == td.pattern(0, 4)


@pytest.mark.parametrize("length", [0, 1, 8, 15, 17, 20, 4096])
def test_wrong_body_length(client, length):
    body = vu.region_body(vu.BAR2, 0, 4).ljust(length, b"\0")[:length]
    client.fails(errno.EINVAL, vu.REGION_READ, body)


def test_pipelined_reads_come_back_in_order(client):
    ids = [
        client.request(vu.REGION_READ, vu.region_body(vu.BAR2, 8 * n, 8)) for n in range(200)
    ]
    for n, msg_id in enumerate(ids):
        reply = client.expect_reply(msg_id, vu.REGION_READ)
        assert reply.body[16:] == td.pattern(8 * n, 8)
