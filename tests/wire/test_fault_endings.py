# SPDX-License-Identifier: BSD-3-Clause
"""How fault channels end: clients that break the protocol, are silent, or die, at any point."""

import contextlib
import errno
import os
import random
import socket
import struct
import time

import faultclient as fc
import pytest
import vfiouser as vu
from faultclient import READ, RW, WRITE, Channel, packet
from faultdev import (
    BOUND,
    DELAY,
    DONE,
    FIRST,
    LAST,
    REGION,
    ROUNDS,
    SMALL,
    TABLE,
    WINDOW,
    entry,
    invalidate,
    number,
    post_invalidate,
)
from server import Server
from vfiouser import PAGE


def test_channel_closed_ends_the_session(fault_client, channel):
    channel.fault(WINDOW, 0)
    channel.close()
    fault_client.expect_closed()


def test_session_closed_ends_the_channel(fault_client, channel):
    channel.fault(WINDOW, 0)
    fault_client.close()
    channel.expect_closed()


def test_half_closed(fault_client, channel):
    channel.sock.shutdown(socket.SHUT_WR)
    fault_client.expect_closed()


def test_both_ends_kept(fault_server):
    """A client that keeps the fault_server's end, too: the end comes all the same."""
    with fault_server.negotiated(text=fc.CAPABILITIES) as client:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            client.call(fc.FAULT_CHANNEL, fc.channel_body(), [theirs.fileno()])
            client.close()
            assert ours.recv(64) == b""


def test_its_own_end_in_its_own_queue(fault_server):
    """The channel's other end is sent into the channel, and forgotten."""
    with fault_server.negotiated(text=fc.CAPABILITIES) as client:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("=i", ours.fileno()))]
            ours.sendmsg([packet(fc.FAULT, region=WINDOW, prot=READ)], rights)
            # The reply is on its way when the session ends, or not.
            with contextlib.suppress(vu.Disconnected):
                client.call(fc.FAULT_CHANNEL, fc.channel_body(), [theirs.fileno()])
        client.expect_closed()


def test_dead_on_arrival(fault_client):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    with theirs:
        fault_client.request(fc.FAULT_CHANNEL, fc.channel_body(), [theirs.fileno()])
    with contextlib.suppress(vu.Disconnected):
        fault_client.recv()
        fault_client.expect_closed()


GOOD = {"tag": 1, "region": WINDOW, "prot": READ}
LIES = {
    "type 0": packet(0), "type MAP": packet(fc.MAP), "type INVALIDATE": packet(fc.INVALIDATE),
    "type 5": packet(5), "type 65535": packet(0xFFFF),
    "flags": packet(fc.FAULT, flags=1, **GOOD), "error": packet(fc.FAULT, error=1, **GOOD),
    "last": packet(fc.FAULT, c=1, **GOOD), "offset": packet(fc.FAULT, d=1, **GOOD),
    "object": packet(fc.FAULT, obj=1, **GOOD),
    "end": packet(fc.FAULT, zero=bytes(15) + b"\1", **GOOD),
    "short": packet(fc.FAULT, **GOOD)[:63], "long": packet(fc.FAULT, **GOOD) + b"\0",
    "byte": b"\1", "very long": packet(fc.FAULT, **GOOD) * 1000,
    "ACK for nothing": packet(fc.ACK), "ACK with a region": packet(fc.ACK, region=1),
}


@pytest.mark.parametrize("lie", LIES)
def test_broken_packets_end_the_session(fault_client, channel, lie):
    with contextlib.suppress(vu.Disconnected):
        channel.send(LIES[lie])
    channel.expect_closed()
    fault_client.expect_closed()


def test_packet_with_an_fd(fault_client, channel):
    fd = os.memfd_create("wire-test")
    channel.send(packet(fc.FAULT, **GOOD), [fd])
    os.close(fd)
    fault_client.expect_closed()


@pytest.mark.parametrize("option", [16, 34, 76])  # SO_PASSCRED, SO_PASSSEC, SO_PASSPIDFD
def test_options_on_the_servers_end(fault_server, option):
    """What they add to each packet is not taken, whatever becomes of the client."""
    with fault_server.negotiated(text=fc.CAPABILITIES) as client:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            client.call(fc.FAULT_CHANNEL, fc.channel_body(), [theirs.fileno()])
            with contextlib.suppress(OSError):
                theirs.setsockopt(socket.SOL_SOCKET, option, 1)
            with contextlib.suppress(OSError):
                for tag in range(20):
                    ours.send(packet(fc.FAULT, tag=tag, region=WINDOW, prot=READ))


def test_duplicate_tag(fault_client, channel):
    fault_client.write32(vu.BAR0, DELAY, 100)
    with contextlib.suppress(vu.Disconnected):
        channel.send(packet(fc.FAULT, **GOOD))
        channel.send(packet(fc.FAULT, **GOOD))
        channel.send(packet(fc.FAULT, **GOOD))
    fault_client.expect_closed()


def test_flood(fault_client, channel):
    """More open faults than there may be."""
    fault_client.write32(vu.BAR0, DELAY, 50)
    with contextlib.suppress(vu.Disconnected):
        for _ in range(3 * fc.MAX_OPEN):
            channel.post(WINDOW, 0)
    fault_client.expect_closed()


def test_acknowledged_twice(fault_client, channel):
    channel.fault(WINDOW, 0)
    msg_id = post_invalidate(fault_client, 0, 0, WINDOW)
    got = channel.recv()
    channel.acknowledge(got)
    channel.acknowledge(got)
    with contextlib.suppress(vu.Disconnected):
        fault_client.expect_reply(msg_id, vu.REGION_WRITE)
        fault_client.expect_closed()


def random_packet(rng):
    """Nearly right, now and then quite right."""
    kind = rng.choice([fc.FAULT] * 6 + [fc.ACK, fc.MAP, rng.randrange(65536)])
    fields = {"tag": rng.randrange(80), "region": rng.choice([TABLE, WINDOW, SMALL, 77])}
    fields["b"] = rng.choice([0, PAGE, rng.randrange(1 << 20), (1 << 64) - 1])
    fields["prot"] = rng.choice([READ, WRITE, RW, 0, 1 << 31])
    if rng.random() < 0.02:
        fields[rng.choice(["flags", "error", "c", "d", "obj"])] = rng.randrange(65536)
    data = packet(kind, **fields)
    return data if rng.random() < 0.97 else data[: rng.randrange(1, 64)]


def test_random_packets(fault_server):
    """UMDEV_TEST_SEED repeats a run."""
    seed = int(os.environ.get("UMDEV_TEST_SEED") or str(random.randrange(1 << 32)), 0)
    print(f"UMDEV_TEST_SEED={seed}")
    rng = random.Random(seed)
    for _ in range(60):
        with fault_server.negotiated(text=fc.CAPABILITIES) as client, Channel(client) as channel:
            for page in range(0, 256, 3):
                entry(client, page, page % 3, page % 64, writable=page % 2)
            with contextlib.suppress(vu.Disconnected):
                for _ in range(rng.randrange(1, 60)):
                    channel.send(random_packet(rng))
                    if rng.random() < 0.1:
                        client.post_write(vu.BAR0, LAST, struct.pack("=I", 255))
                    while rng.random() < 0.8 and not channel.silent():
                        got = channel.recv()
                        if got.kind == fc.INVALIDATE:
                            channel.acknowledge(got)


def test_gone_between_fault_and_answer(fault_server):
    for _ in range(5):
        with fault_server.negotiated(text=fc.CAPABILITIES) as client, Channel(client) as channel:
            client.write32(vu.BAR0, DELAY, 20)
            for _ in range(10):
                channel.post(WINDOW, 0)
            channel.close()
            client.expect_closed()


def test_gone_instead_of_an_acknowledgement(fault_server):
    """Neither the callback that waits for it nor the device's thread is kept."""
    started = time.monotonic()
    for in_callback in (True, False):
        with fault_server.negotiated(text=fc.CAPABILITIES) as client, Channel(client) as channel:
            channel.fault(WINDOW, 0)
            client.write32(vu.BAR0, REGION, WINDOW)
            if in_callback:
                post_invalidate(client, 0, 0, WINDOW)
            else:
                invalidate(client, channel, 0, 0, WINDOW)
                channel.fault(WINDOW, 0)
                client.write32(vu.BAR0, ROUNDS, 1)
            assert channel.recv().kind == fc.INVALIDATE
    with fault_server.negotiated() as client:
        assert client.read(WINDOW, 0, 8) == number(1, 4)
    assert time.monotonic() - started < BOUND


@pytest.mark.parametrize("in_callback", [True, False])
def test_never_acknowledges(fault_server, in_callback):
    """After the bound the client is cut off, and the next one served; in both cases the rest of
    the device goes on."""
    with fault_server.negotiated(text=fc.CAPABILITIES) as client, Channel(client) as channel:
        channel.fault(WINDOW, 0)
        client.write32(vu.BAR0, REGION, WINDOW)
        started = time.monotonic()
        if in_callback:
            post_invalidate(client, 0, 0, WINDOW)
        else:
            invalidate(client, channel, 0, 0, WINDOW)
            channel.fault(WINDOW, 0)
            client.write32(vu.BAR0, ROUNDS, 1)
            assert client.read32(vu.BAR0, DONE) == 1
        assert channel.recv().kind == fc.INVALIDATE
        channel.expect_closed()
        assert BOUND - 0.1 < time.monotonic() - started < BOUND + 5
    with fault_server.negotiated() as client:
        assert client.read(WINDOW, 0, 8) == number(1, 4)


def test_never_reads(fault_client, channel):
    """Its answers fill the socket; then the bound is over."""
    started = time.monotonic()
    with contextlib.suppress(vu.Disconnected, TimeoutError):
        while time.monotonic() - started < 2 * BOUND:
            channel.post(WINDOW, 0)
            time.sleep(0.005)
    fault_client.expect_closed()
    assert time.monotonic() - started < BOUND + 5


def test_other_devices_go_on(two_faultdevs):
    """While one's callback waits for an acknowledgement that does not come."""
    with two_faultdevs.negotiated(text=fc.CAPABILITIES) as bad, Channel(bad) as channel:
        channel.fault(WINDOW, 0)
        post_invalidate(bad, 0, 0, WINDOW)
        assert channel.recv().kind == fc.INVALIDATE
        with two_faultdevs.negotiated(1, text=fc.CAPABILITIES) as good, Channel(good) as other:
            started = time.monotonic()
            assert not other.fault(WINDOW, 0).error
            invalidate(good, other, 0, 0, WINDOW)
            assert time.monotonic() - started < 2


@pytest.mark.parametrize("in_callback", [True, False])
def test_server_stops_meanwhile(in_callback):
    """SIGTERM while an acknowledgement is waited for: nobody waits for the client."""
    server = Server("faultdev")
    try:
        with server.negotiated(text=fc.CAPABILITIES) as client, Channel(client) as channel:
            channel.fault(WINDOW, 0)
            client.write32(vu.BAR0, REGION, WINDOW)
            if in_callback:
                post_invalidate(client, 0, 0, WINDOW)
            else:
                client.write32(vu.BAR0, FIRST, 0)
                client.write32(vu.BAR0, ROUNDS, 1)
            assert channel.recv().kind == fc.INVALIDATE
            started = time.monotonic()
            server.stop()
            assert time.monotonic() - started < BOUND - 1
    finally:
        server.kill()


def test_reset_takes_back(fault_client, channel):
    entry(fault_client, 0, 0, 0)
    channel.fault(TABLE, 0)
    msg_id = fault_client.request(vu.DEVICE_RESET)
    channel.expect_invalidate(TABLE, 0, 256 * PAGE - 1)
    assert not fault_client.expect_reply(msg_id, vu.DEVICE_RESET).errno
    channel.refused(errno.EFAULT, TABLE, 0)
