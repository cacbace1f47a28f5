# SPDX-License-Identifier: BSD-3-Clause
"""DMA_PROTECT, umdev's own: another protection for mappings that stay (docs/protocol.md)."""

import errno
import os
import struct

import pytest
import testdev as td
import vfiouser as vu
from vfiouser import PAGE

DMA_PROTECT = 0x8003
BASE = 0x100000
OFFER = '{"capabilities":{"max_msg_fds":16,"umdev":{"protect":1}}}'


def body(address, size, flags, argsz=24):
    return struct.pack("=IIQQ", argsz, flags, address, size)


@pytest.fixture
def protector(server):
    """A client that negotiated it, on a device that may be bus master."""
    with server.negotiated(text=OFFER) as client:
        td.enable_bus_master(client)
        yield client


@pytest.fixture
def memory():
    with vu.memory_file(4 * PAGE) as fd:
        yield fd


def protect(client, address, size, flags):
    assert client.call(DMA_PROTECT, body(address, size, flags)).body == b""


def may_read(client, address):
    return td.dma(client, td.DMA_TO_BAR0, src=address, length=8)


def may_write(client, address):
    return td.dma(client, td.DMA_FROM_BAR0, dst=address, length=8)


def test_negotiation(server):
    with server.client() as client:
        assert client.negotiate(text=OFFER)[2]["umdev"] == {"protect": 1}
    text = OFFER.replace('"protect":1', '"protect":7,"fault":1')
    with server.negotiated(text=text) as client:
        client.check_in_step()
    with server.negotiated() as client:
        client.fails(errno.ENOSYS, DMA_PROTECT, body(0, PAGE, 1))


@pytest.mark.parametrize("value", ["0", '"1"', "true", "-1", "[]"])
def test_a_malformed_offer(server, value):
    with server.client() as client:
        text = OFFER.replace('"protect":1', f'"protect":{value}')
        reply = client.try_call(vu.VERSION, vu.version_body(text=text))
        assert reply.errno == errno.EINVAL
        client.expect_closed()


def test_protections_change_in_place(protector, memory):
    protector.dma_map(BASE, 2 * PAGE, memory)
    for flags in [vu.READABLE, vu.WRITEABLE, vu.READABLE | vu.WRITEABLE, vu.READABLE]:
        protect(protector, BASE, 2 * PAGE, flags)
        assert may_read(protector, BASE) == (0 if flags & vu.READABLE else errno.EPERM)
        assert may_write(protector, BASE) == (0 if flags & vu.WRITEABLE else errno.EPERM)


def test_several_mappings_at_once(protector, memory):
    protector.dma_map(BASE, PAGE, memory)
    protector.dma_map(BASE + 2 * PAGE, PAGE, memory, offset=PAGE)
    protector.dma_map(BASE + 3 * PAGE, PAGE, memory, offset=2 * PAGE, flags=vu.WRITEABLE)
    protect(protector, BASE, 3 * PAGE, vu.READABLE)
    assert may_write(protector, BASE) == errno.EPERM
    assert may_write(protector, BASE + 2 * PAGE) == errno.EPERM
    assert may_write(protector, BASE + 3 * PAGE) == 0
    assert may_read(protector, BASE + 3 * PAGE) == errno.EPERM


def test_the_last_page_of_all(protector, memory):
    last = 2**64 - PAGE
    protector.dma_map(last, PAGE, memory)
    protect(protector, last, PAGE, vu.READABLE)
    assert may_write(protector, last) == errno.EPERM


@pytest.mark.parametrize(
    "address, size, flags, number",
    [
        (BASE, 4 * PAGE, 0, errno.EINVAL),
        (BASE, 4 * PAGE, 4, errno.EINVAL),
        (BASE, 4 * PAGE, 1 << 31 | 1, errno.EINVAL),
        (BASE, 0, 1, errno.EINVAL),
        (BASE + 1, 4 * PAGE, 1, errno.EINVAL),
        (BASE, 4 * PAGE - 1, 1, errno.EINVAL),
        (BASE, 3 * PAGE, 1, errno.EINVAL),
        (BASE + PAGE, 4 * PAGE, 1, errno.EINVAL),
        (2**64 - PAGE, 2 * PAGE, 1, errno.EINVAL),
        (0, PAGE, 1, errno.ENOENT),
        (BASE + 4 * PAGE, PAGE, 1, errno.ENOENT),
    ],
)
def test_what_is_refused(protector, memory, address, size, flags, number):
    protector.dma_map(BASE, 4 * PAGE, memory)
    protector.fails(number, DMA_PROTECT, body(address, size, flags))
    assert may_read(protector, BASE) == 0
    assert may_write(protector, BASE) == 0


def test_sizes_and_fds(protector, memory):
    protector.dma_map(BASE, PAGE, memory)
    whole = body(BASE, PAGE, 1)
    for size in [0, 8, 23]:
        protector.fails(errno.EINVAL, DMA_PROTECT, whole[:size])
    protector.fails(errno.EINVAL, DMA_PROTECT, whole + b"\0")
    protector.fails(errno.EINVAL, DMA_PROTECT, body(BASE, PAGE, 1, argsz=23))
    protector.fails(errno.EINVAL, DMA_PROTECT, whole, fds=[memory])
    assert may_write(protector, BASE) == 0


def test_a_file_that_was_given_for_reading(protector, memory):
    reopened = os.open(f"/proc/self/fd/{memory}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        protector.dma_map(BASE, PAGE, reopened, flags=vu.READABLE)
    finally:
        os.close(reopened)
    protector.fails(errno.EPERM, DMA_PROTECT, body(BASE, PAGE, vu.READABLE | vu.WRITEABLE))
    assert may_read(protector, BASE) == 0
    assert may_write(protector, BASE) == errno.EPERM


def test_the_driver_is_told_of_what_goes(protector, memory):
    """As of an unmap: what it holds may need what is taken away."""
    protector.dma_map(BASE, PAGE, memory)
    before = td.count(protector, td.COUNT_DMA_UNMAP)
    protect(protector, BASE, PAGE, vu.READABLE)
    assert td.count(protector, td.COUNT_DMA_UNMAP) == before + 1
    protect(protector, BASE, PAGE, vu.READABLE | vu.WRITEABLE)
    assert td.count(protector, td.COUNT_DMA_UNMAP) == before + 1
