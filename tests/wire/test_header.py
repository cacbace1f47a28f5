# SPDX-License-Identifier: BSD-3-Clause
"""The header: sizes, flags, types, ids, unknown commands, and NO_REPLY."""

import errno
import struct

import pytest
import testdev as td
import vfiouser as vu

KNOWN = {
    vu.VERSION: vu.version_body(),
    vu.DMA_MAP: vu.dma_map_body(0, 4096),
    vu.DMA_UNMAP: vu.dma_unmap_body(0, 4096),
    vu.DEVICE_GET_INFO: vu.info_body(),
    vu.DEVICE_GET_REGION_INFO: vu.region_info_body(0),
    vu.DEVICE_GET_IRQ_INFO: vu.irq_info_body(0),
    vu.DEVICE_SET_IRQS: vu.set_irqs_body(vu.DATA_NONE | vu.ACTION_TRIGGER, vu.MSIX, 0, 0),
    vu.REGION_READ: vu.region_body(vu.BAR0, 0, 4),
    vu.REGION_WRITE: vu.region_body(vu.BAR0, 0, 4, b"data"),
    vu.DEVICE_RESET: b"",
    vu.REGION_WRITE_MULTI: vu.write_multi_body([(vu.BAR0, 0, b"data")]),
}


def refused_or_closed(client):
    """For what no client has reason to send: an error reply and on in step, or the end."""
    try:
        reply = client.recv()
    except vu.Disconnected:
        return
    assert reply.errno
    client.check_in_step()


@pytest.mark.parametrize("msg_id", [0, 1, 0x7FFF, 0x8000, 0xFFFF])
@pytest.mark.parametrize("command", sorted(KNOWN))
def test_id_and_command_are_echoed(client, command, msg_id):
    client.send(vu.message(command, KNOWN[command], msg_id))
    reply = client.recv()
    assert (reply.id, reply.command) == (msg_id, command)


def test_ids_may_be_used_again_at_once(client):
    """They belong to the sender: the server makes nothing of them."""
    for _ in range(50):
        client.send(vu.message(vu.DEVICE_GET_INFO, vu.info_body(), 7))
    for _ in range(50):
        assert client.recv().id == 7


@pytest.mark.parametrize("size", range(16))
def test_size_below_the_headers(client, size):
    client.send(vu.header(1, vu.DEVICE_GET_INFO, size) + vu.info_body())
    client.expect_closed()


@pytest.mark.parametrize("size", [64 << 20, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF])
@pytest.mark.parametrize("command", [vu.REGION_WRITE, vu.DMA_MAP, 0x4242])
def test_size_beyond_any_message(client, command, size):
    """Not waited for: the connection ends with the header."""
    client.send(vu.header(1, command, size))
    client.expect_closed()


@pytest.mark.parametrize("size", [0, 15, 64 << 20, 0xFFFFFFFF])
def test_size_before_version(server, size):
    with server.client() as client:
        client.send(vu.header(1, vu.VERSION, size) + vu.version_body())
        client.expect_closed()


@pytest.mark.parametrize("command", [0, 14, *range(19, 40), 0x7FFF, 0x8000, 0xFFFF])
@pytest.mark.parametrize("length", [0, 16, 4096])
def test_unknown_command(client, command, length):
    client.fails(errno.ENOSYS, command, bytes(length))


@pytest.mark.parametrize("command", [vu.DMA_READ, vu.DMA_WRITE])
def test_commands_of_the_other_direction(client, command):
    client.fails(errno.ENOSYS, command, struct.pack("=QQ", 0, 8))


@pytest.mark.parametrize("command", sorted(KNOWN))
@pytest.mark.parametrize("kind", range(2, 16))
def test_unknown_type(client, command, kind):
    client.send(vu.message(command, KNOWN[command], 9, flags=kind))
    refused_or_closed(client)


@pytest.mark.parametrize("command", sorted(KNOWN))
@pytest.mark.parametrize("flags", [vu.REPLY, vu.REPLY | vu.ERROR, vu.REPLY | vu.NO_REPLY])
def test_reply_to_nothing(client, command, flags):
    """Nothing was asked of the client, so its stream is out of step: the end, without an answer."""
    client.send(vu.message(command, KNOWN[command], 9, flags=flags))
    client.expect_closed()


@pytest.mark.parametrize("flags", [vu.ERROR, 0x40, 0x80, 0x8000, 0x80000000, 0xFFFFFFC0])
def test_flags_that_no_request_has(client, flags):
    client.send(vu.message(vu.DEVICE_GET_INFO, vu.info_body(), 9, flags=flags))
    refused_or_closed(client)


def test_error_field_of_a_request_is_ignored(client):
    """It is reserved there."""
    body = vu.info_body()
    client.send(vu.header(5, vu.DEVICE_GET_INFO, 16 + len(body), error=77) + body)
    reply = client.recv()
    assert (reply.id, reply.errno) == (5, 0)


# ------------------------------------------------------------------ NO_REPLY


@pytest.mark.parametrize("command", sorted(KNOWN))
def test_no_reply(client, command):
    """Not even where a reply would have data, or an error."""
    client.send(vu.message(command, KNOWN[command], 1, vu.NO_REPLY))
    client.check_in_step()
    client.expect_silence()


@pytest.mark.parametrize("command", [*sorted(KNOWN), 0, 14, 6, 16, 17, 18, 19, 0xFFFF])
@pytest.mark.parametrize("length", [0, 3, 200])
def test_no_reply_to_a_wrong_request_either(client, command, length):
    client.send(vu.message(command, b"\xff" * length, 1, vu.NO_REPLY))
    client.check_in_step()
    client.expect_silence()


def test_no_reply_takes_effect(dma_client):
    with vu.memory_file(4096, b"mapped") as fd:
        dma_client.request(vu.DMA_MAP, vu.dma_map_body(0, 4096), [fd], vu.NO_REPLY)
    assert td.dma_read(dma_client, 0, 6) == b"mapped"
    dma_client.request(vu.DMA_UNMAP, vu.dma_unmap_body(0, 4096), flags=vu.NO_REPLY)
    assert td.dma(dma_client, td.DMA_TO_BAR0, src=0, length=6) == errno.EFAULT


# ------------------------------------------------------------------ pipelining


def test_replies_come_in_the_order_of_requests(client):
    kinds = [
        (vu.DEVICE_GET_INFO, vu.info_body()),
        (vu.REGION_READ, vu.region_body(vu.BAR2, 0, 100)),
        (0x4242, b"unknown"),
        (vu.REGION_WRITE, vu.region_body(vu.BAR0, 0, 4, b"data")),
        (vu.DEVICE_GET_REGION_INFO, vu.region_info_body(vu.BAR0)),
        (vu.REGION_READ, vu.region_body(99, 0, 4)),
    ]
    sent = []
    for n in range(300):
        command, body = kinds[n % len(kinds)]
        sent.append((client.request(command, body), command))
    for msg_id, command in sent:
        reply = client.expect_reply(msg_id, command)
        reply.close_fds()
        client.received_fds.clear()
    client.check_in_step()


def test_an_error_does_not_stop_what_follows(client):
    bad = client.request(vu.REGION_READ, vu.region_body(99, 0, 4))
    good = client.request(vu.REGION_READ, vu.region_body(vu.BAR2, 0, 4))
    assert client.expect_reply(bad, vu.REGION_READ).errno == errno.EINVAL
    assert client.expect_reply(good, vu.REGION_READ).body[16:] == td.pattern(0, 4)


def test_slow_request_holds_up_nothing_before_it(client):
    client.write32(vu.BAR1, td.REG_DELAY, 200)
    ids = [client.request(vu.REGION_READ, vu.region_body(vu.BAR0, 0, 4))]
    ids.append(client.request(vu.REGION_READ, vu.region_body(vu.BAR2, 0, 4)))
    ids.append(client.request(vu.REGION_READ, vu.region_body(vu.BAR0, 0, 4)))
    for msg_id in ids:
        assert not client.expect_reply(msg_id, vu.REGION_READ).errno
