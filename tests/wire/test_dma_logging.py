# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_FEATURE, and the DMA log that it starts, stops and reads; DMA_UNMAP with a bitmap."""

import errno
import os
import struct
import time

import pytest
import testdev as td
import vfiouser as vu
from vfiouser import PAGE

TOP = 1 << 64
MIB = 1 << 20
GIB = 1 << 30

START, STOP, REPORT = 6, 7, 8
GET, SET, PROBE = vu.FEATURE_GET, vu.FEATURE_SET, vu.FEATURE_PROBE

# holddev's registers, in BAR0
HOLD_ADDR, HOLD_LEN, HOLD, HOLD_RESULT, HOLD_RELEASED, HOLD_WRITES = 0, 8, 0xC, 0x14, 0x18, 0x1C


def start_body(*ranges, page_size=PAGE, **more):
    return vu.feature_body(SET | START, vu.log_start_data(ranges, page_size, **more))


def report_body(iova, length, page_size=PAGE, argsz=MIB):
    return vu.feature_body(GET | REPORT, struct.pack("=QQQ", iova, length, page_size), argsz)


def unmap_body(address, size, bitmap_bytes=8, page_size=PAGE, argsz=None, flags=1):
    argsz = 40 + bitmap_bytes if argsz is None else argsz
    return vu.dma_unmap_body(address, size, flags, argsz) + struct.pack("=QQ", page_size, bitmap_bytes)


def device_writes(client, address, length):
    assert td.dma(client, td.DMA_FROM_BAR0, dst=address, length=length) == 0


@pytest.fixture
def memory(dma_client):
    """64 pages at 1 MiB that the device may write, and the log on."""
    with vu.memory_file(64 * PAGE) as fd:
        dma_client.dma_map(MIB, 64 * PAGE, fd)
        assert dma_client.log_start() == PAGE
        yield fd


# ------------------------------------------------------------------ the rules of features


@pytest.mark.parametrize("index, operation", [(START, SET), (STOP, SET), (REPORT, GET)])
def test_probe(client, index, operation):
    """Of the operation, of none; with data, which is not looked at; the request comes back."""
    for flags in (PROBE | operation | index, PROBE | index):
        for data in (b"", b"\xff" * 24, bytes(4096)):
            for spare in (0, 1, 1000):
                body = vu.feature_body(flags, data, 8 + len(data) + spare)
                assert client.call(vu.DEVICE_FEATURE, body).body == body
    for other in (GET | SET, GET | SET & ~operation, (GET | SET) ^ operation):
        if other != operation:
            body = vu.feature_body(PROBE | other | index)
            client.fails(errno.EINVAL, vu.DEVICE_FEATURE, body)
    # Nothing was started, or stopped.
    client.fails(errno.EINVAL, vu.DEVICE_FEATURE, report_body(0, PAGE))


@pytest.mark.parametrize("index, operation", [(START, GET), (STOP, GET), (REPORT, SET)])
def test_wrong_operation(client, index, operation):
    for flags in (operation, 0, GET | SET):
        body = vu.feature_body(flags | index, vu.log_start_data())
        client.fails(errno.EINVAL, vu.DEVICE_FEATURE, body)


@pytest.mark.parametrize("bit", range(19, 32))
def test_unknown_flags(client, bit):
    for flags in (PROBE | START, SET | START):
        body = vu.feature_body(flags | 1 << bit, vu.log_start_data())
        client.fails(errno.EINVAL, vu.DEVICE_FEATURE, body)
    client.log_start()


@pytest.mark.parametrize("index", [0, 1, 2, 3, 4, 5, 9, 10, 11, 0x106, 0x8006, 0xFFFF])
def test_no_such_feature(client, index):
    for operation in (GET, SET, PROBE, PROBE | GET, PROBE | SET, PROBE | GET | SET, 0):
        body = vu.feature_body(operation | index, bytes(8))
        client.fails(errno.ENOTTY, vu.DEVICE_FEATURE, body)
    client.fails(errno.EINVAL, vu.DEVICE_FEATURE, vu.feature_body(GET | SET | index, bytes(8)))


@pytest.mark.parametrize("argsz", [0, 7])
def test_small_argsz(client, argsz):
    body = vu.feature_body(PROBE | START, argsz=argsz)
    client.fails(errno.EINVAL, vu.DEVICE_FEATURE, body)


@pytest.mark.parametrize(
    "body",
    [start_body((0, GIB)), start_body(), report_body(0, GIB, argsz=32), vu.feature_body(SET | STOP)],
    ids=["start", "start all", "report", "stop"],
)
def test_wrong_length_and_argsz(client, body):
    """argsz has room for the reply, which repeats the request; a body has no byte too few or many."""
    client.log_start()
    client.log_stop()
    for argsz in range(len(body)):
        client.fails(errno.EINVAL, vu.DEVICE_FEATURE, struct.pack("=I", argsz) + body[4:])
    for length in range(len(body)):
        client.fails(errno.EINVAL, vu.DEVICE_FEATURE, struct.pack("=I", MIB) + body[4:length])
    for more in (1, 8, 16, 4096, MIB - 64):
        longer = struct.pack("=I", MIB) + body[4:] + bytes(more)
        client.fails(errno.EINVAL, vu.DEVICE_FEATURE, longer)
    with vu.memory_file() as fd:
        client.fails(errno.EINVAL, vu.DEVICE_FEATURE, body, [fd])


# ------------------------------------------------------------------ start and stop


@pytest.mark.parametrize("page_size", [1 << n for n in (0, 9, 12, 16, 21, 30, 63)])
def test_page_size_is_a_hint(client, page_size):
    """The device's own comes back; the rest is the request."""
    assert client.log_start([(0, 1 << 63)], page_size) == PAGE
    client.log_stop()
    assert client.log_start([], page_size) == PAGE


@pytest.mark.parametrize("page_size", [0, 3, PAGE - 1, PAGE + 1, 3 * PAGE, TOP - 1])
def test_page_size_that_is_none(client, page_size):
    client.fails(errno.EINVAL, vu.DEVICE_FEATURE, start_body((0, GIB), page_size=page_size))
    client.fails(errno.EINVAL, vu.DEVICE_FEATURE, start_body(page_size=page_size))


@pytest.mark.parametrize(
    "ranges, page_size",
    [
        ([(0, 0)], PAGE),
        ([(0, PAGE), (GIB, 0)], PAGE),
        ([(1, PAGE)], 1),
        ([(0, PAGE + 1)], 1),
        ([(0, PAGE // 2)], PAGE // 2),
        ([(PAGE, 2 * PAGE)], 2 * PAGE),
        ([(0, 3 * PAGE)], 2 * PAGE),
        ([(TOP - PAGE, 2 * PAGE)], PAGE),
        ([(2 * PAGE, TOP - PAGE)], PAGE),
        ([(0, PAGE), (0, PAGE)], PAGE),
        ([(GIB, GIB), (0, GIB + PAGE)], PAGE),
        ([(0, GIB), (PAGE, PAGE)], PAGE),
        ([(0, PAGE), (TOP - PAGE, PAGE), (PAGE, TOP - PAGE)], PAGE),
    ],
)
def test_ranges_that_make_no_sense(client, ranges, page_size):
    """Empty, unaligned, wrapping, overlapping."""
    client.fails(errno.EINVAL, vu.DEVICE_FEATURE, start_body(*ranges, page_size=page_size))
    client.fails(errno.EINVAL, vu.DEVICE_FEATURE, report_body(0, PAGE))


def test_ranges_up_to_both_ends(client):
    client.log_start([(TOP - PAGE, PAGE), (0, TOP - PAGE)])
    assert client.log_report(TOP - GIB, GIB) == []
    client.log_stop()
    client.log_start([(PAGE, TOP - PAGE)])
    client.fails(errno.EINVAL, vu.DEVICE_FEATURE, report_body(0, PAGE))


def test_number_of_ranges(client):
    """256, as in the kernel. `reserved` is nobody's business."""
    ranges = [(2 * n * PAGE, PAGE) for n in range(257)]
    client.fails(errno.E2BIG, vu.DEVICE_FEATURE, start_body(*ranges))
    for count in (0x1000, 1 << 28, 1 << 31, (1 << 32) - 1):
        client.fails(errno.E2BIG, vu.DEVICE_FEATURE, start_body((0, PAGE), count=count))
    for count in (0, 2, 256):
        client.fails(errno.EINVAL, vu.DEVICE_FEATURE, start_body((0, PAGE), count=count))
    body = start_body(*ranges[:256], reserved=0xFFFFFFFF)
    assert client.call(vu.DEVICE_FEATURE, body).body == body
    assert client.log_report(255 * 2 * PAGE, PAGE) == []


def test_started_twice(client):
    client.log_start([(0, GIB)])
    client.fails(errno.EINVAL, vu.DEVICE_FEATURE, start_body((0, GIB)))
    client.fails(errno.EINVAL, vu.DEVICE_FEATURE, start_body())
    assert client.log_report(0, GIB) == []
    client.log_stop()
    client.log_start()


def test_stop_without_start(client):
    client.log_stop()
    client.log_stop()


def test_stop_forgets(dma_client, memory):
    device_writes(dma_client, MIB, 8)
    dma_client.log_stop()
    dma_client.fails(errno.EINVAL, vu.DEVICE_FEATURE, report_body(MIB, PAGE))
    device_writes(dma_client, MIB, 8)
    dma_client.log_start()
    assert dma_client.log_report(MIB, 64 * PAGE) == []


def test_no_reply(dma_client, memory):
    """A report without a reply reads and clears all the same."""
    device_writes(dma_client, MIB, 8)
    dma_client.request(vu.DEVICE_FEATURE, report_body(MIB, PAGE), flags=vu.NO_REPLY)
    assert dma_client.log_report(MIB, PAGE) == []


# ------------------------------------------------------------------ reports


def test_pages_that_the_device_wrote(dma_client, memory):
    device_writes(dma_client, MIB + 5 * PAGE + 4095, 2)
    device_writes(dma_client, MIB + 63 * PAGE, 1)
    assert dma_client.log_report(MIB, 64 * PAGE) == [5, 6, 63]
    assert dma_client.log_report(MIB, 64 * PAGE) == []


def test_reads_and_the_clients_own_writes_are_not_logged(dma_client, memory):
    td.dma_read(dma_client, MIB, 4096)
    os.pwrite(memory, b"mine", 0)
    assert td.dma(dma_client, td.DMA_FROM_BAR0, dst=MIB + 64 * PAGE, length=8) == errno.EFAULT
    assert dma_client.log_report(MIB, 65 * PAGE) == []


def test_copy_inside_client_memory(dma_client, memory):
    assert td.dma(dma_client, td.DMA_COPY, src=MIB, dst=MIB + 9 * PAGE, length=2 * PAGE) == 0
    assert dma_client.log_report(MIB, 64 * PAGE) == [9, 10]


@pytest.mark.parametrize("by", [td.DMA_ENGINE, td.DMA_ASYNC])
def test_other_ways_to_write(dma_client, memory, by):
    with vu.eventfds(1) as fds:
        flags = vu.DATA_EVENTFD | vu.ACTION_TRIGGER
        dma_client.set_irqs(flags, vu.MSIX, td.DMA_VECTOR, 1, fds=fds)
        td.dma(dma_client, td.DMA_FROM_BAR0 | by, dst=MIB + 7 * PAGE, length=8)
        vu.wait_signalled(fds[0])
        assert dma_client.log_report(MIB, 64 * PAGE) == [7]


def test_memory_without_a_file(dma_client):
    """A write by message is logged when it has been answered."""
    dma_client.dma_map(MIB, 64 * PAGE)
    dma_client.log_start()
    with vu.eventfds(1) as fds:
        flags = vu.DATA_EVENTFD | vu.ACTION_TRIGGER
        dma_client.set_irqs(flags, vu.MSIX, td.DMA_VECTOR, 1, fds=fds)
        dma_client.write(vu.BAR1, td.REG_DMA_DST, struct.pack("=QQ", MIB + 3 * PAGE, PAGE + 1))
        dma_client.write32(vu.BAR1, td.REG_DMA_GO, td.DMA_FROM_BAR0 | td.DMA_ASYNC)
        raw = dma_client.recv_exact(vu.HEADER_SIZE, [])
        msg_id, command, size, _, _ = struct.unpack("=HHIII", raw)
        body = dma_client.recv_exact(size - vu.HEADER_SIZE, [])
        assert command == vu.DMA_WRITE and body[:16] == struct.pack("=QQ", MIB + 3 * PAGE, PAGE + 1)
        dma_client.send(vu.message(command, body[:16], msg_id, vu.REPLY))
        vu.wait_signalled(fds[0])
    assert dma_client.log_report(MIB, 64 * PAGE) == [3, 4]


def test_write_by_message_that_the_client_refused(dma_client):
    """Nobody knows how much of it was written."""
    dma_client.dma_map(MIB, PAGE)
    dma_client.log_start()
    dma_client.write(vu.BAR1, td.REG_DMA_DST, struct.pack("=QQ", MIB, 8))
    dma_client.write32(vu.BAR1, td.REG_DMA_GO, td.DMA_FROM_BAR0 | td.DMA_ASYNC)
    raw = dma_client.recv_exact(vu.HEADER_SIZE, [])
    msg_id, command, size, _, _ = struct.unpack("=HHIII", raw)
    dma_client.recv_exact(size - vu.HEADER_SIZE, [])
    error = vu.header(msg_id, command, vu.HEADER_SIZE, vu.REPLY | vu.ERROR, errno.EFAULT)
    dma_client.send(error)
    assert dma_client.log_report(MIB, PAGE) == [0]


def wait_released(client, before):
    deadline = time.monotonic() + vu.TIMEOUT
    while client.read32(vu.BAR0, HOLD_RELEASED) == before and time.monotonic() < deadline:
        pass


@pytest.mark.parametrize("writes, expected", [(0, []), (1, [2, 3])])
def test_window(hold_client, writes, expected):
    """Logged when it is taken and when it is given back: a report in between loses nothing."""
    with vu.memory_file(64 * PAGE) as fd:
        hold_client.dma_map(MIB, 64 * PAGE, fd)
        hold_client.log_start()
        before = hold_client.read32(vu.BAR0, HOLD_RELEASED)
        hold_client.write64(vu.BAR0, HOLD_ADDR, MIB + 2 * PAGE + 1)
        hold_client.write32(vu.BAR0, HOLD_LEN, PAGE)
        hold_client.write32(vu.BAR0, HOLD_WRITES, writes)
        hold_client.write32(vu.BAR0, HOLD, 200)
        assert hold_client.read32(vu.BAR0, HOLD_RESULT) == 0
        assert hold_client.log_report(MIB, 64 * PAGE) == expected
        wait_released(hold_client, before)
        assert hold_client.log_report(MIB, 64 * PAGE) == expected
        assert hold_client.log_report(MIB, 64 * PAGE) == []


@pytest.mark.parametrize("page_size, bits", [(2 * PAGE, [2, 3, 31]), (16 * PAGE, [0, 3]), (GIB, [0])])
def test_coarser_pages(dma_client, memory, page_size, bits):
    for page in (5, 6, 63):
        device_writes(dma_client, MIB + page * PAGE, 1)
    assert dma_client.log_report(MIB, 64 * PAGE, page_size) == bits
    assert dma_client.log_report(MIB, 64 * PAGE) == []


def test_pages_counted_from_the_ranges_start(dma_client, memory):
    """And the last one may be cut short."""
    for page in (2, 3, 7):
        device_writes(dma_client, MIB + page * PAGE, 1)
    assert dma_client.log_report(MIB + 3 * PAGE, 5 * PAGE, 4 * PAGE) == [0, 1]
    assert dma_client.log_report(MIB, 64 * PAGE) == [2]


def test_report_touches_nothing_else(dma_client, memory):
    device_writes(dma_client, MIB, 4 * PAGE)
    assert dma_client.log_report(MIB + PAGE, 2 * PAGE) == [0, 1]
    assert dma_client.log_report(MIB, 64 * PAGE) == [0, 3]


def test_only_the_ranges_are_logged(dma_client):
    with vu.memory_file(64 * PAGE) as fd:
        dma_client.dma_map(MIB, 64 * PAGE, fd)
        dma_client.log_start([(MIB + 4 * PAGE, PAGE), (MIB + PAGE, 2 * PAGE), (MIB + 3 * PAGE, PAGE)])
        device_writes(dma_client, MIB, 6 * PAGE)
        # Ranges that touch are one.
        assert dma_client.log_report(MIB + PAGE, 4 * PAGE) == [0, 1, 2, 3]
        for iova, length in ((MIB, PAGE), (MIB, 2 * PAGE), (MIB + 4 * PAGE, 2 * PAGE), (0, PAGE)):
            dma_client.fails(errno.EINVAL, vu.DEVICE_FEATURE, report_body(iova, length))


@pytest.mark.parametrize("page_size", [0, 1, PAGE // 2, PAGE + 1, 3 * PAGE, 2 * GIB, 1 << 63, TOP - 1])
def test_report_page_sizes(dma_client, memory, page_size):
    """Powers of two from 4 KiB to 1 GiB."""
    device_writes(dma_client, MIB, 1)
    dma_client.fails(errno.EINVAL, vu.DEVICE_FEATURE, report_body(MIB, PAGE, page_size))
    assert dma_client.log_report(MIB, PAGE) == [0]


@pytest.mark.parametrize(
    "iova, length",
    [
        (MIB, 0),
        (MIB + 1, PAGE),
        (MIB, PAGE + 1),
        (MIB, PAGE - 1),
        (TOP - PAGE, 2 * PAGE),
        (2 * PAGE, TOP - PAGE),
        (TOP - 1, TOP - 1),
    ],
)
def test_report_ranges(dma_client, memory, iova, length):
    """Empty, unaligned, wrapping."""
    dma_client.fails(errno.EINVAL, vu.DEVICE_FEATURE, report_body(iova, length))


def test_argsz_without_room_for_the_bitmap(dma_client, memory):
    """The reply tells the size needed, and nothing is read or cleared."""
    device_writes(dma_client, MIB + 63 * PAGE, PAGE)
    for argsz in (32, 33, 39):
        body = report_body(MIB, 64 * PAGE, argsz=argsz)
        reply = dma_client.call(vu.DEVICE_FEATURE, body)
        assert reply.body == struct.pack("=I", 40) + body[4:]
    for argsz in (40, 41, 0xFFFFFFFF):
        reply = dma_client.call(vu.DEVICE_FEATURE, report_body(MIB, 64 * PAGE, argsz=argsz))
        assert reply.body[:4] == struct.pack("=I", 40) and len(reply.body) == 40
        assert vu.bitmap_bits(reply.body[32:]) == ([63] if argsz == 40 else [])


def test_largest_report(dma_client, memory):
    """A bitmap as large as the client takes in one message: 32 GiB of pages."""
    device_writes(dma_client, MIB, 1)
    length = vu.MAX_DATA * 8 * PAGE
    assert dma_client.log_report(MIB, length) == [0]
    for page_size, more in ((PAGE, PAGE), (PAGE, length), (2 * PAGE, length + 64 * 2 * PAGE)):
        body = report_body(MIB, length + more, page_size, argsz=0xFFFFFFFF)
        dma_client.fails(errno.E2BIG, vu.DEVICE_FEATURE, body)
    dma_client.fails(errno.E2BIG, vu.DEVICE_FEATURE, report_body(0, TOP - PAGE, argsz=32))


def test_largest_report_of_a_client_that_takes_less(server):
    with server.client() as client:
        client.negotiate(text='{"capabilities": {"max_data_xfer_size": 1000}}')
        client.log_start()
        assert client.log_report(0, 125 * 64 * PAGE) == []
        body = report_body(0, (125 * 64 + 1) * PAGE)
        client.fails(errno.E2BIG, vu.DEVICE_FEATURE, body)


def test_reset_goes_on_logging(dma_client, memory):
    device_writes(dma_client, MIB, 1)
    dma_client.reset()
    td.enable_bus_master(dma_client)
    device_writes(dma_client, MIB + PAGE, 1)
    assert dma_client.log_report(MIB, 64 * PAGE) == [0, 1]


def test_log_ends_with_the_session(server):
    with server.negotiated() as client:
        client.log_start()
    with server.negotiated() as client:
        client.fails(errno.EINVAL, vu.DEVICE_FEATURE, report_body(0, PAGE))
        client.log_start()


def test_mapped_and_unmapped_while_logging(dma_client):
    """The log is one of addresses: an unmap takes nothing away, and what is mapped later counts."""
    dma_client.log_start()
    with vu.memory_file(PAGE) as fd:
        for address in (MIB, MIB + PAGE, TOP - PAGE):
            dma_client.dma_map(address, PAGE, fd)
            device_writes(dma_client, address, 1)
            dma_client.dma_unmap(address, PAGE)
    assert dma_client.log_report(MIB, 64 * PAGE) == [0, 1]
    assert dma_client.log_report(TOP - PAGE, PAGE) == [0]


def test_pages_all_over_the_place(dma_client):
    """Each in a part of the log of its own: that costs a bounded amount of memory, and no page."""
    dma_client.log_start()
    with vu.memory_file(PAGE) as fd:
        for n in range(1, 300):
            dma_client.dma_map(n << 50, PAGE, fd)
            device_writes(dma_client, n << 50, 1)
            dma_client.dma_unmap(n << 50, PAGE)
    for n in range(1, 300):
        assert dma_client.log_report(n << 50, 64 * PAGE) == [0]
    dma_client.log_stop()


def test_nothing_is_lost_while_the_device_writes(dma_client, memory):
    """The device's thread counts in every page while the client copies what reports name."""
    copy = bytearray(64 * PAGE)
    with vu.eventfds(1) as fds:
        flags = vu.DATA_EVENTFD | vu.ACTION_TRIGGER
        dma_client.set_irqs(flags, vu.MSIX, td.DMA_VECTOR, 1, fds=fds)
        for n in range(60):
            dma_client.write(vu.BAR0, 0, bytes([n + 1]) * 0x10000)
            command = td.DMA_FROM_BAR0 | td.DMA_ENGINE
            td.dma(dma_client, command, dst=MIB + n % 48 * PAGE, length=0x10000)
            for page in dma_client.log_report(MIB, 64 * PAGE):
                copy[page * PAGE : (page + 1) * PAGE] = os.pread(memory, PAGE, page * PAGE)
            vu.wait_signalled(fds[0])
    for page in dma_client.log_report(MIB, 64 * PAGE):
        copy[page * PAGE : (page + 1) * PAGE] = os.pread(memory, PAGE, page * PAGE)
    assert copy == os.pread(memory, 64 * PAGE, 0)


# ------------------------------------------------------------------ DMA_UNMAP with a bitmap


def unmap_dirty(client, address, size, bitmap_bytes, page_size=PAGE):
    """(bytes unmapped, bits)"""
    body = unmap_body(address, size, bitmap_bytes, page_size)
    reply = client.call(vu.DMA_UNMAP, body)
    assert reply.body[:16] == body[:16] and reply.body[24:40] == body[24:]
    assert len(reply.body) == 40 + bitmap_bytes
    return struct.unpack_from("=Q", reply.body, 16)[0], vu.bitmap_bits(reply.body[40:])


@pytest.mark.parametrize("bitmap_bytes", [8, 9, 16, 4096, MIB])
def test_unmap_tells_what_was_written(dma_client, memory, bitmap_bytes):
    """A bitmap of the size that the client says, zeros behind what is needed."""
    device_writes(dma_client, MIB + 5 * PAGE, PAGE + 1)
    assert unmap_dirty(dma_client, MIB, 64 * PAGE, bitmap_bytes) == (64 * PAGE, [5, 6])
    assert dma_client.log_report(MIB, 64 * PAGE) == []
    assert td.dma(dma_client, td.DMA_FROM_BAR0, dst=MIB, length=8) == errno.EFAULT


def test_unmap_with_coarser_pages(dma_client, memory):
    device_writes(dma_client, MIB + 5 * PAGE, 1)
    assert unmap_dirty(dma_client, MIB, 64 * PAGE, 8, 4 * PAGE) == (64 * PAGE, [1])


def test_unmap_of_nothing_with_a_bitmap(dma_client, memory):
    assert unmap_dirty(dma_client, 0, MIB, 32) == (0, [])


def test_unmap_waits_for_what_a_window_writes(hold_client):
    with vu.memory_file(64 * PAGE) as fd:
        hold_client.dma_map(MIB, 64 * PAGE, fd)
        hold_client.log_start()
        hold_client.write64(vu.BAR0, HOLD_ADDR, MIB + PAGE)
        hold_client.write32(vu.BAR0, HOLD_LEN, PAGE)
        hold_client.write32(vu.BAR0, HOLD_WRITES, 1)
        hold_client.write32(vu.BAR0, HOLD, 200)
        assert hold_client.log_report(MIB, 64 * PAGE) == [1]
        assert unmap_dirty(hold_client, MIB, 64 * PAGE, 8) == (64 * PAGE, [1])
        assert os.pread(fd, 3, 2 * PAGE - 2) == b"\x5a\x5a\0"
        wait_released(hold_client, 0)


@pytest.mark.parametrize(
    "number, change",
    [
        (errno.EINVAL, {"address": MIB + PAGE}),
        (errno.EINVAL, {"address": MIB + 1}),
        (errno.EINVAL, {"size": 0}),
        (errno.EINVAL, {"size": 63 * PAGE}),
        (errno.EINVAL, {"size": 64 * PAGE + 1}),
        (errno.EINVAL, {"address": TOP - PAGE, "size": 2 * PAGE}),
        (errno.EINVAL, {"page_size": 0}),
        (errno.EINVAL, {"page_size": PAGE // 2}),
        (errno.EINVAL, {"page_size": 3 * PAGE}),
        (errno.EINVAL, {"page_size": 2 * GIB}),
        (errno.EINVAL, {"bitmap_bytes": 0}),
        (errno.EINVAL, {"bitmap_bytes": 7}),
        (errno.EINVAL, {"argsz": 47}),
        (errno.EINVAL, {"argsz": 24}),
        (errno.EINVAL, {"argsz": 23}),
        (errno.EINVAL, {"flags": 3}),
        (errno.EINVAL, {"flags": 0}),
        (errno.EINVAL, {"flags": 5}),
        (errno.E2BIG, {"bitmap_bytes": MIB + 1, "argsz": 0xFFFFFFFF}),
        (errno.E2BIG, {"bitmap_bytes": TOP - 1, "argsz": 0xFFFFFFFF}),
        (errno.E2BIG, {"bitmap_bytes": TOP - 40, "argsz": 0xFFFFFFFF}),
    ],
    ids=str,
)
def test_unmap_that_makes_no_sense(dma_client, memory, number, change):
    """Nothing is unmapped, and nothing forgotten."""
    device_writes(dma_client, MIB + 5 * PAGE, 1)
    body = unmap_body(**{"address": MIB, "size": 64 * PAGE, **change})
    dma_client.fails(number, vu.DMA_UNMAP, body)
    device_writes(dma_client, MIB + 63 * PAGE, 1)
    assert unmap_dirty(dma_client, MIB, 64 * PAGE, 8) == (64 * PAGE, [5, 63])


@pytest.mark.parametrize("length", [24, 25, 32, 39, 41, 48])
def test_unmap_with_a_wrong_body(dma_client, memory, length):
    body = unmap_body(MIB, 64 * PAGE)
    dma_client.fails(errno.EINVAL, vu.DMA_UNMAP, body.ljust(length, b"\0")[:length])
    assert dma_client.dma_unmap(MIB, 64 * PAGE) == 64 * PAGE


def test_unmap_outside_what_is_logged(dma_client):
    with vu.memory_file(64 * PAGE) as fd:
        dma_client.dma_map(MIB, 64 * PAGE, fd)
        dma_client.log_start([(MIB, 63 * PAGE)])
        dma_client.fails(errno.EINVAL, vu.DMA_UNMAP, unmap_body(MIB, 64 * PAGE))
        dma_client.log_stop()
        dma_client.fails(errno.EINVAL, vu.DMA_UNMAP, unmap_body(MIB, 64 * PAGE))
        assert dma_client.dma_unmap(MIB, 64 * PAGE) == 64 * PAGE


def test_client_leaves_in_the_middle(server):
    """While its device writes, with the log on."""
    for _ in range(10):
        with server.negotiated() as client, vu.memory_file(64 * PAGE) as fd:
            td.enable_bus_master(client)
            client.dma_map(MIB, 64 * PAGE, fd)
            client.log_start()
            td.dma(client, td.DMA_FROM_BAR0 | td.DMA_ENGINE, dst=MIB, length=0x10000)
            client.request(vu.DEVICE_FEATURE, report_body(MIB, 64 * PAGE))
