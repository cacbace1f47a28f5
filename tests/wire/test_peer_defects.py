# SPDX-License-Identifier: BSD-3-Clause
"""Defects that were found in another vfio-user server; each has its test so that this one never
gets them."""

import errno
import os
import struct
import time

import pytest
import testdev as td
import vfiouser as vu
from vfiouser import PAGE, eventfds, signalled


def test_large_write_in_two_pieces(client):
    """Was: a short read, EINVAL, and the stream out of step for good."""
    data = vu.message(vu.REGION_WRITE, vu.region_body(vu.BAR0, 0, 0x10000, b"\x5a" * 0x10000))
    client.send_pieces([data[:30000], data[30000:]])
    assert not client.recv().errno
    assert client.read(vu.BAR0, 0, 0x10000) == b"\x5a" * 0x10000


def test_header_in_two_sends(client):
    """Was: connection reset."""
    data = vu.message(vu.DEVICE_GET_INFO, vu.info_body())
    client.send_pieces([data[:7], data[7:]])
    assert not client.recv().errno
    client.check_in_step()


def test_body_in_two_sends(client):
    """Was: the rest of the body taken for a header."""
    data = vu.message(vu.DEVICE_GET_REGION_INFO, vu.region_info_body(0))
    client.send_pieces([data[:20], data[20:]])
    assert not client.recv().errno
    client.check_in_step()


def test_client_that_says_nothing(server):
    """Was: it blocked the accepting thread."""
    with server.client(), server.client(), server.negotiated() as client:
        client.check_in_step()


def test_dma_logging_without_dma(client):
    """Was: SIGABRT, with migration on and nothing mapped."""
    ranges = struct.pack("=QIIQQ", PAGE, 1, 0, 0, 1 << 30)
    start = vu.feature_body(vu.FEATURE_SET | vu.FEATURE_DMA_LOGGING_START, ranges)
    client.try_call(vu.DEVICE_FEATURE, start)
    client.check_in_step()


@pytest.mark.parametrize(
    "flags, data",
    [
        (
            vu.FEATURE_SET | vu.FEATURE_DMA_LOGGING_START,
            struct.pack("=QIIQQQQ", PAGE, 2, 0, 0, 1 << 30, 1 << 32, 1 << 30),
        ),
        (
            vu.FEATURE_GET | vu.FEATURE_DMA_LOGGING_REPORT,
            struct.pack("=QQQ", 0, 1 << 30, PAGE),
        ),
        (vu.FEATURE_SET | vu.FEATURE_MIG_DEVICE_STATE, struct.pack("=II", 1, 0)),
        (vu.FEATURE_GET | vu.FEATURE_MIGRATION, b""),
        (vu.FEATURE_SET | vu.FEATURE_DMA_LOGGING_STOP, b""),
    ],
    ids=["start", "report", "state", "migration", "stop"],
)
def test_truncated_features(client, flags, data):
    """Was: reads past the end of the message. Every length and every argsz is answered."""
    whole = vu.feature_body(flags, data)
    for length in range(len(whole) + 1):
        for argsz in (0, 8, length, len(whole), 4096, 0xFFFFFFFF):
            body = vu.feature_body(flags, data, argsz)[:length]
            reply = client.try_call(vu.DEVICE_FEATURE, body)
            assert reply.errno or length == len(whole)
    client.check_in_step()


@pytest.mark.parametrize("ranges", [1, 0x10000000, 0x10000001, 0xFFFFFFFF])
def test_dma_logging_with_more_ranges_than_are_there(client, ranges):
    """16 bytes each: 0x10000000 of them wrap a 32-bit size to 0."""
    data = struct.pack("=QII", PAGE, ranges, 0)
    start = vu.feature_body(vu.FEATURE_SET | vu.FEATURE_DMA_LOGGING_START, data)
    assert client.try_call(vu.DEVICE_FEATURE, start).errno
    client.check_in_step()


def test_disable_from_the_middle(client):
    """Was: SET_IRQS with count 0 and start > 0 did nothing."""
    with eventfds(4) as fds:
        client.set_irqs(vu.DATA_EVENTFD | vu.ACTION_TRIGGER, vu.MSIX, 0, 4, fds=fds)
        client.set_irqs(vu.DATA_NONE | vu.ACTION_TRIGGER, vu.MSIX, 2, 0)
        for vector in range(4):
            td.trigger(client, vu.MSIX, vector)
        assert not any(signalled(fd) for fd in fds)


def test_write_to_a_read_only_region(client):
    """Was: success."""
    body = vu.region_body(vu.BAR4, 0, 4, b"\0\0\0\0")
    client.fails(errno.EPERM, vu.REGION_WRITE, body)


def test_a_map_that_succeeds_is_mapped(dma_client):
    """Was: success where nothing was set up that could map."""
    with vu.memory_file(PAGE, b"here") as fd:
        dma_client.dma_map(0, PAGE, fd)
        assert td.dma_read(dma_client, 0, 4) == b"here"


@pytest.mark.parametrize(
    "address, size, offset",
    [
        (0, 0, 0),
        ((1 << 64) - PAGE, 2 * PAGE, 0),
        (1, PAGE, 0),
        (0, PAGE + 1, 0),
        (0, PAGE, 1),
        (0, PAGE, PAGE),
        (0, 2 * PAGE, 0),
    ],
    ids=["zero", "wrapping", "address", "size", "offset", "past the end", "over the end"],
)
def test_maps_that_make_no_sense(client, address, size, offset):
    """Was: success, and SIGBUS later."""
    with vu.memory_file(PAGE) as fd:
        body = vu.dma_map_body(address, size, offset=offset)
        client.fails(errno.EINVAL, vu.DMA_MAP, body, [fd])


def test_file_that_shrinks_after_it_was_mapped(dma_client):
    """The same SIGBUS, from a client that waits with it: its own session ends, nothing else."""
    with vu.memory_file(4 * PAGE) as fd:
        dma_client.dma_map(0, 4 * PAGE, fd)
        os.ftruncate(fd, 0)
        deadline = time.monotonic() + vu.TIMEOUT
        with pytest.raises(vu.Disconnected):
            td.dma(dma_client, td.DMA_TO_BAR0, src=0, length=4 * PAGE)
            # The device's access has been answered; the session's end may come just after.
            while time.monotonic() < deadline:
                dma_client.check_in_step()
