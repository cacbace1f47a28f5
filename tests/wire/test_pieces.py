# SPDX-License-Identifier: BSD-3-Clause
"""A stream has no messages: they come in pieces, or several at once. Whatever the cut, the same."""

import random
import struct

import pytest
import testdev as td
import vfiouser as vu
from vfiouser import PAGE


def requests():
    """A request of each kind with a check of its reply."""

    def empty(reply):
        assert not reply.errno and reply.body == b""

    def begins(expected):
        def check(reply):
            assert not reply.errno and reply.body.startswith(expected)

        return check

    memory = vu.region_body(vu.BAR0, 0, 5, b"hello")
    return {
        "info": (vu.DEVICE_GET_INFO, vu.info_body(), begins(struct.pack("=I", 16))),
        "region-info": (
            vu.DEVICE_GET_REGION_INFO,
            vu.region_info_body(vu.BAR2),
            begins(struct.pack("=I", 32)),
        ),
        "irq-info": (vu.DEVICE_GET_IRQ_INFO, vu.irq_info_body(2), begins(struct.pack("=I", 16))),
        "map": (vu.DMA_MAP, vu.dma_map_body(0, PAGE), empty),
        "unmap": (vu.DMA_UNMAP, vu.dma_unmap_body(0, PAGE), begins(vu.dma_unmap_body(0, PAGE))),
        "write": (vu.REGION_WRITE, memory, begins(memory[:16])),
        "read": (vu.REGION_READ, vu.region_body(vu.BAR0, 0, 5), begins(memory)),
        "reset": (vu.DEVICE_RESET, b"", empty),
    }


def cut(data, *places):
    """`data` cut at these places."""
    edges = [0, *places, len(data)]
    return [data[a:b] for a, b in zip(edges, edges[1:])]


def test_every_request_at_every_cut(client):
    """In this order the requests make sense one after the other."""
    longest = max(len(vu.message(c, b)) for c, b, _ in requests().values())
    for place in range(1, longest):
        for name, (command, body, check) in requests().items():
            data = vu.message(command, body, place)
            client.send_pieces(cut(data, min(place, len(data) - 1)))
            reply = client.recv()
            assert (reply.id, reply.command) == (place, command), name
            check(reply)


def test_every_request_byte_by_byte(client):
    for command, body, check in requests().values():
        data = vu.message(command, body, 3)
        client.send_pieces([data[i : i + 1] for i in range(len(data))])
        reply = client.recv()
        assert (reply.id, reply.command) == (3, command)
        check(reply)


def test_version_at_every_cut(server):
    data = vu.message(vu.VERSION, vu.version_body(text='{"capabilities":{"max_msg_fds":8}}'))
    for place in [*range(1, 22), len(data) - 1]:
        with server.client() as client:
            client.send_pieces(cut(data, place))
            assert not client.recv().errno
            client.check_in_step()


def test_version_byte_by_byte(server):
    data = vu.message(vu.VERSION, vu.version_body())
    with server.client() as client:
        client.send_pieces([data[i : i + 1] for i in range(len(data))])
        assert not client.recv().errno
        client.check_in_step()


@pytest.mark.parametrize("place", [1, 15, 16, 17, 31, 32, 33, 4096, 4112, 32768, 65535, 65567])
def test_large_write_in_two_pieces(client, place):
    payload = random.Random(place).randbytes(0x10000)
    data = vu.message(vu.REGION_WRITE, vu.region_body(vu.BAR0, 0, 0x10000, payload))
    client.send_pieces(cut(data, place))
    assert not client.recv().errno
    assert client.read(vu.BAR0, 0, 0x10000) == payload


def test_large_write_in_many_pieces(client):
    payload = random.Random(1).randbytes(0x10000)
    data = vu.message(vu.REGION_WRITE, vu.region_body(vu.BAR0, 0, 0x10000, payload))
    client.send_pieces([data[i : i + 701] for i in range(0, len(data), 701)])
    assert not client.recv().errno
    assert client.read(vu.BAR0, 0, 0x10000) == payload


def test_body_comes_later(client):
    """The server must not answer, or take anything for a message, in between."""
    for command, body, check in requests().values():
        if not body:
            continue
        client.send(vu.header(4, command, 16 + len(body)))
        client.wait_taken()
        client.expect_silence()
        client.send(body)
        check(client.recv())


def test_several_in_one_send(client):
    kinds = list(requests().values())
    data = b"".join(vu.message(c, b, i) for i, (c, b, _) in enumerate(kinds))
    client.send(data)
    for i, (command, _, check) in enumerate(kinds):
        reply = client.recv()
        assert (reply.id, reply.command) == (i, command)
        check(reply)


def test_thousands_in_random_pieces(client):
    """One long stream of posted writes, cut anywhere; the seed is in the test's name."""
    rng = random.Random(20)
    expected = bytearray(0x10000)
    stream = b""
    for _ in range(3000):
        size = rng.choice([1, 4, 8, 100])
        offset = rng.randrange(0x10000 - size)
        payload = rng.randbytes(size)
        expected[offset : offset + size] = payload
        body = vu.region_body(vu.BAR0, offset, size, payload)
        stream += vu.message(vu.REGION_WRITE, body, flags=vu.NO_REPLY)
    at = 0
    while at < len(stream):
        size = rng.choice([1, 15, 16, 17, 100, 4095, 4096, 4097, 30000])
        client.send(stream[at : at + size])
        at += size
    assert client.read(vu.BAR0, 0, 0x10000) == bytes(expected)


# ------------------------------------------------------------------ fds in pieces


def map_in_pieces(client, fd, pieces, fds_with):
    client.send_pieces(pieces, [fd], fds_with)
    reply = client.recv()
    assert reply.command == vu.DMA_MAP and not reply.errno


@pytest.mark.parametrize("place", [1, 8, 15, 16, 17, 47])
def test_fd_with_the_first_piece(dma_client, place):
    with vu.memory_file(PAGE, b"first piece") as fd:
        data = vu.message(vu.DMA_MAP, vu.dma_map_body(0, PAGE))
        map_in_pieces(dma_client, fd, cut(data, place), 0)
        assert td.dma_read(dma_client, 0, 11) == b"first piece"


@pytest.mark.parametrize("place", [1, 15, 16, 17, 47])
def test_fd_with_the_last_piece(dma_client, place):
    """Whichever of a message's bytes it came with, it is that message's."""
    with vu.memory_file(PAGE, b"last piece") as fd:
        data = vu.message(vu.DMA_MAP, vu.dma_map_body(0, PAGE))
        map_in_pieces(dma_client, fd, cut(data, place), 1)
        assert td.dma_read(dma_client, 0, 10) == b"last piece"


def test_fd_byte_by_byte(dma_client):
    with vu.memory_file(PAGE, b"bytes") as fd:
        data = vu.message(vu.DMA_MAP, vu.dma_map_body(0, PAGE))
        map_in_pieces(dma_client, fd, [data[i : i + 1] for i in range(48)], 0)
        assert td.dma_read(dma_client, 0, 5) == b"bytes"


def mark(n):
    return struct.pack("=Q", 0xABCD0000 + n)


def check_marks(client, count):
    """Mapping n shows file n."""
    for n in range(count):
        assert td.dma_read(client, n * PAGE, 8) == mark(n), f"mapping {n}"


def test_pipelined_maps_get_their_own_files(dma_client):
    """Firmware pipelines its maps: a receiver that takes too much takes the next one's fd."""
    count = 64
    for n in range(count):
        with vu.memory_file(PAGE, mark(n)) as fd:
            dma_client.request(vu.DMA_MAP, vu.dma_map_body(n * PAGE, PAGE), [fd])
    for _ in range(count):
        assert not dma_client.recv().errno
    check_marks(dma_client, count)


def test_pipelined_maps_among_other_requests(dma_client):
    """Maps with and without a file, and requests that have none, back to back."""
    count = 30
    for n in range(count):
        dma_client.post_write(vu.BAR0, 0, bytes(n * 100))
        with vu.memory_file(PAGE, mark(n)) as fd:
            dma_client.request(vu.DMA_MAP, vu.dma_map_body(n * PAGE, PAGE), [fd], vu.NO_REPLY)
        dma_client.request(vu.DMA_MAP, vu.dma_map_body((1000 + n) * PAGE, PAGE), (), vu.NO_REPLY)
    dma_client.check_in_step()
    check_marks(dma_client, count)
    assert dma_client.dma_unmap(0, 0, vu.UNMAP_ALL) == 2 * count * PAGE


def test_pipelined_maps_in_pieces(dma_client):
    count = 16
    for n in range(count):
        data = vu.message(vu.DMA_MAP, vu.dma_map_body(n * PAGE, PAGE), n)
        with vu.memory_file(PAGE, mark(n)) as fd:
            for i, piece in enumerate(cut(data, 5 + 2 * n)):
                dma_client.send(piece, [fd] if i == 0 else [])
    for _ in range(count):
        assert not dma_client.recv().errno
    check_marks(dma_client, count)


def test_pipelined_interrupts_get_their_own_eventfds(client):
    with vu.eventfds(td.NUM_MSIX) as fds:
        for n, fd in enumerate(fds):
            body = vu.set_irqs_body(vu.DATA_EVENTFD | vu.ACTION_TRIGGER, vu.MSIX, n, 1)
            client.request(vu.DEVICE_SET_IRQS, body, [fd])
        for _ in fds:
            assert not client.recv().errno
        for n in range(td.NUM_MSIX):
            td.trigger(client, vu.MSIX, n)
            assert [vu.signalled(fd) for fd in fds] == [int(n == m) for m in range(td.NUM_MSIX)]


@pytest.mark.parametrize("map_first", [True, False])
def test_fd_goes_to_the_map_of_several_messages_in_one_send(dma_client, map_first):
    """Fds travel with a send, not with a place in it: of its messages the one that takes fds gets
    them, wherever it stands."""
    messages = [
        vu.message(vu.DMA_MAP, vu.dma_map_body(0, PAGE), 1),
        vu.message(vu.DEVICE_GET_INFO, vu.info_body(), 2),
        vu.message(vu.DEVICE_GET_INFO, vu.info_body(), 3),
    ]
    with vu.memory_file(PAGE, b"the map's") as fd:
        dma_client.send(b"".join(messages if map_first else reversed(messages)), [fd])
        replies = [dma_client.recv() for _ in range(3)]
        assert sorted((r.id, r.errno) for r in replies) == [(1, 0), (2, 0), (3, 0)]
        assert td.dma_read(dma_client, 0, 9) == b"the map's"
