# SPDX-License-Identifier: BSD-3-Clause
"""Clients that mean harm, or die. The server goes on, and so do its other devices and clients."""

import contextlib
import errno
import os
import random
import socket
import struct
import threading
import time

import pytest
import testdev as td
import vfiouser as vu
from vfiouser import PAGE

FD_TRIGGER = vu.DATA_EVENTFD | vu.ACTION_TRIGGER


def expect_cut_off(client):
    """The session ends; what was asked before may still be answered."""
    deadline = time.monotonic() + vu.TIMEOUT
    with pytest.raises(vu.Disconnected):
        while time.monotonic() < deadline:
            client.check_in_step()


# ------------------------------------------------------------------ silence


def test_silent_clients_are_in_nobodys_way(server):
    """The device belongs to the first who says VERSION."""
    with contextlib.ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(server.client())
        with server.negotiated() as client:
            client.check_in_step()


def test_half_a_header_is_in_nobodys_way(server):
    with contextlib.ExitStack() as stack:
        for n in (1, 8, 15, 16, 18, 40):
            half = stack.enter_context(server.client())
            half.send(vu.message(vu.VERSION, vu.version_body())[:n])
        with server.negotiated() as client:
            client.check_in_step()


def test_crowd_of_silent_clients(server):
    """More than any server wants to keep: the oldest go, and one that speaks is heard at once."""
    crowd = []
    for _ in range(300):
        try:
            crowd.append(server.client())
        except OSError:
            break
    with server.client() as client:
        client.negotiate()
        client.check_in_step()
    for client in crowd:
        client.close()


def test_silent_after_version(server):
    """It has the device, and keeps it: a second client is told so, the first is not cut off."""
    with server.negotiated() as silent, server.client() as second:
        assert second.try_call(vu.VERSION, vu.version_body()).errno == errno.EBUSY
        second.expect_closed()
        silent.check_in_step()


def test_half_closed_before_version(server):
    with server.client() as client:
        client.sock.shutdown(socket.SHUT_WR)
        client.expect_closed()


def test_half_closed_client_gets_its_answers(server):
    """It has said all it had to say, and still listens."""
    with server.negotiated() as client:
        ids = [client.request(vu.REGION_READ, vu.region_body(vu.BAR2, n, 8)) for n in range(50)]
        client.sock.shutdown(socket.SHUT_WR)
        for n, msg_id in enumerate(ids):
            reply = client.expect_reply(msg_id, vu.REGION_READ)
            assert reply.body[16:] == td.pattern(n, 8)
        client.expect_closed()


def test_client_that_does_not_listen(server):
    """It shuts its reading side; the server's answer is an error to the server, not a signal."""
    with server.negotiated() as client:
        client.sock.shutdown(socket.SHUT_RD)
        with contextlib.suppress(vu.Disconnected):
            for _ in range(100):
                client.request(vu.REGION_READ, vu.region_body(vu.BAR2, 0, 4096))


def test_client_that_fetches_no_answers(two_devices):
    """The server's thread waits for it to read. Nobody else does."""
    with two_devices.negotiated(0) as greedy, two_devices.negotiated(1) as good:
        for _ in range(50):
            greedy.request(vu.REGION_READ, vu.region_body(vu.BAR2, 0, vu.MAX_DATA))
        good.check_in_step()
        with two_devices.client(0) as second:
            assert second.try_call(vu.VERSION, vu.version_body()).errno == errno.EBUSY
        for _ in range(50):
            assert len(greedy.recv().body) == 16 + vu.MAX_DATA
        greedy.check_in_step()


def test_out_of_band_byte(server):
    """AF_UNIX has them since Linux 5.15. Outside the stream, or a reason to be cut off."""
    with server.negotiated() as client:
        data = vu.message(vu.DEVICE_GET_INFO, vu.info_body())
        client.send(data[:5])
        try:
            client.sock.send(b"!", socket.MSG_OOB)
        except OSError:
            pytest.skip("no out-of-band data on UNIX sockets here")
        with contextlib.suppress(vu.Disconnected):
            client.send(data[5:])
            client.request(vu.DEVICE_GET_INFO, vu.info_body())
            client.wait_taken()
    with server.negotiated() as client:
        client.check_in_step()


# ------------------------------------------------------------------ one client at a time


def test_second_client_is_told_at_once(server):
    with server.negotiated() as first:
        for _ in range(20):
            with server.client() as second:
                reply = second.try_call(vu.VERSION, vu.version_body())
                assert reply.errno == errno.EBUSY
                second.expect_closed()
        first.check_in_step()


def test_second_client_disturbs_nothing(server):
    with server.negotiated() as first, vu.memory_file(PAGE, b"first's") as fd:
        td.enable_bus_master(first)
        first.dma_map(0, PAGE, fd)
        first.write32(vu.BAR1, td.REG_SCRATCH, 42)
        with server.client() as second:
            second.try_call(vu.VERSION, vu.version_body())
        assert first.read32(vu.BAR1, td.REG_SCRATCH) == 42
        assert td.dma_read(first, 0, 7) == b"first's"


def test_many_clients_at_once(server):
    """One gets the device at a time; each is answered. The seats of silent clients are limited, so
    a connection may also be turned away without a word."""
    answers = []

    def come_and_go():
        for _ in range(20):
            with server.client() as client, contextlib.suppress(vu.Disconnected):
                answers.append(client.try_call(vu.VERSION, vu.version_body()).errno)

    threads = [threading.Thread(target=come_and_go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {0, errno.EBUSY} and 0 in answers


# ------------------------------------------------------------------ death


def session_bytes():
    """A client's life as bytes: a message and its fds' kind."""
    read = vu.region_body(vu.BAR2, 0, 4096)
    irqs = vu.set_irqs_body(FD_TRIGGER, vu.MSIX, 0, 1)
    return [
        (vu.message(vu.VERSION, vu.version_body()), None),
        (vu.message(vu.DEVICE_GET_INFO, vu.info_body()), None),
        (vu.message(vu.DEVICE_GET_REGION_INFO, vu.region_info_body(0, 4096)), None),
        (vu.message(vu.DMA_MAP, vu.dma_map_body(0x10000, PAGE)), "memory"),
        (vu.message(vu.DEVICE_SET_IRQS, irqs), "eventfd"),
        (vu.message(vu.REGION_READ, read), None),
        (vu.message(vu.REGION_WRITE, vu.region_body(vu.BAR0, 0, 4096, bytes(4096))), None),
        (vu.message(vu.DMA_UNMAP, vu.dma_unmap_body(0x10000, PAGE)), None),
    ]


def test_death_at_any_byte(server):
    """Every message cut short at several places, everything before it sent whole."""
    script = session_bytes()
    with vu.memory_file() as memory, vu.eventfds(1) as (event,):
        fds = {None: (), "memory": (memory,), "eventfd": (event,)}
        for last in range(len(script)):
            size = len(script[last][0])
            for place in sorted({0, 1, 15, 16, 17, size // 2, size - 1, size}):
                with server.client() as client, contextlib.suppress(vu.Disconnected):
                    for data, kind in script[:last]:
                        client.send(data, fds[kind])
                    data, kind = script[last]
                    if place:
                        client.send(data[:place], fds[kind])


def test_death_in_a_callback(server):
    """The callback ends in its own time, then the session."""
    with server.negotiated() as client:
        client.write32(vu.BAR1, td.REG_DELAY, 300)
        client.request(vu.REGION_READ, vu.region_body(vu.BAR2, 0, 4))
    with server.negotiated() as client:
        client.check_in_step()


def test_death_with_unread_replies(server):
    """Megabytes of answers nobody fetches: the server's send must end with the client."""
    with server.negotiated() as client:
        for _ in range(50):
            client.request(vu.REGION_READ, vu.region_body(vu.BAR2, 0, vu.MAX_DATA))


def test_death_with_everything_set_up(server):
    with server.negotiated() as client, vu.memory_file(64 * PAGE) as fd, vu.eventfds(9) as events:
        td.enable_bus_master(client)
        for n in range(64):
            client.dma_map(n * 2 * PAGE, PAGE, fd, offset=n * PAGE)
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 8, fds=events[:8])
        client.set_irqs(FD_TRIGGER, vu.ERR, 0, 1, fds=events[8:])


def test_sigterm_whatever_clients_do(own_server):
    """Silent, half a message, answers not fetched: none keeps the server from ending."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(own_server.client())
        half = stack.enter_context(own_server.client())
        half.send(vu.message(vu.VERSION, vu.version_body())[:20])
        greedy = stack.enter_context(own_server.negotiated())
        for _ in range(50):
            greedy.request(vu.REGION_READ, vu.region_body(vu.BAR2, 0, vu.MAX_DATA))
        own_server.stop()
    assert not os.path.exists(own_server.path)


def test_sigterm_in_half_a_request(own_server):
    with own_server.negotiated() as client:
        client.send(vu.message(vu.REGION_WRITE, vu.region_body(vu.BAR0, 0, 4096))[:30])
        client.wait_taken()
        own_server.stop()


def test_sigterm_in_a_callback(own_server):
    with own_server.negotiated() as client:
        client.write32(vu.BAR1, td.REG_DELAY, 500)
        client.request(vu.REGION_READ, vu.region_body(vu.BAR2, 0, 4))
        client.wait_taken()
        own_server.stop()


def test_sigterm_with_a_full_eventfd(own_server):
    """The session's thread hangs in the write when the signal comes."""
    fd = os.eventfd(0, os.EFD_CLOEXEC)
    try:
        with own_server.negotiated() as client:
            client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 1, fds=[fd])
            os.eventfd_write(fd, 0xFFFFFFFFFFFFFFFE)
            client.post_write(vu.BAR1, td.REG_TRIGGER, struct.pack("=I", vu.MSIX << 16))
            client.wait_taken()
            own_server.stop()
    finally:
        os.close(fd)


# ------------------------------------------------------------------ nonsense


def mutated(rng, script):
    """A message of the script with a few bytes changed, cut, or grown."""
    data, kind = rng.choice(script)
    data = bytearray(data)
    what = rng.randrange(4)
    if what == 0:
        for _ in range(rng.choice([1, 1, 2, 8])):
            byte = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
            data[rng.randrange(len(data))] = byte
    elif what == 1 and len(data) > 16:
        at = rng.randrange(16, len(data))
        data[at : at + 8] = struct.pack("=Q", rng.choice([0, 1, (1 << 64) - 1, 1 << 63, 4095]))
        data[4:8] = struct.pack("=I", len(data))
    elif what == 2:
        data = data[:16] + rng.randbytes(rng.choice([0, 1, 15, 16, 31, 32, 100]))
        data[4:8] = struct.pack("=I", len(data))
    elif what == 3:
        data[2:4] = struct.pack("=H", rng.randrange(24))
    return bytes(data), kind


def drain(client):
    """Read what has come, so that neither end waits for the other."""
    client.sock.setblocking(False)
    with contextlib.suppress(BlockingIOError, ConnectionResetError):
        while True:
            data, fds, _, _ = socket.recv_fds(client.sock, 1 << 20, 64)
            for fd in fds:
                os.close(fd)
            if not data:
                break
    client.sock.setblocking(True)
    client.sock.settimeout(vu.TIMEOUT)


def fuzz_session(server, rng):
    script = session_bytes()
    with vu.memory_file() as memory, vu.eventfds(1) as (event,):
        fds = {None: (), "memory": (memory,), "eventfd": (event,)}
        with server.client() as client, contextlib.suppress(vu.Disconnected):
            if rng.random() < 0.9:
                client.send(vu.message(vu.VERSION, vu.version_body()))
            for _ in range(rng.randrange(1, 60)):
                data, kind = mutated(rng, script) if rng.random() < 0.7 else rng.choice(script)
                kind = rng.choice(list(fds)) if rng.random() < 0.1 else kind
                client.sock.settimeout(vu.TIMEOUT)
                # A size that promises more than comes would make both wait: the client leaves then.
                client.send(data, fds[kind])
                drain(client)


def test_mutated_sessions(server):
    seed = int(os.environ.get("UMDEV_SEED") or random.SystemRandom().randrange(1 << 32))
    rounds = int(os.environ.get("UMDEV_FUZZ_ROUNDS") or 150)
    print(f"UMDEV_SEED={seed}")
    rng = random.Random(seed)
    for _ in range(rounds):
        fuzz_session(server, rng)
    with server.negotiated() as client:
        client.check_in_step()


def test_random_bytes(server):
    seed = int(os.environ.get("UMDEV_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"UMDEV_SEED={seed}")
    rng = random.Random(seed)
    for n in range(100):
        with server.client() as client, contextlib.suppress(vu.Disconnected):
            if n % 2:
                client.send(vu.message(vu.VERSION, vu.version_body()))
            client.send(rng.randbytes(rng.choice([1, 16, 100, 5000])))
            drain(client)


def test_random_region_accesses(client):
    """Offsets and sizes at every border, all regions, and the device still works."""
    rng = random.Random(7)
    edges = [0, 1, 4, 0xFFF, 0x1000, 0x1FFF, 0x2000, 0xFFFF, 0x10000, 1 << 21, 1 << 32, 1 << 63]
    safe = [vu.BAR0, vu.BAR2, vu.BAR3, vu.BAR4, vu.BAR5, vu.ROM, vu.CONFIG, vu.VGA, 9]
    for _ in range(1500):
        offset = (rng.choice(edges) + rng.randrange(-5, 5)) % (1 << 64)
        count = rng.choice([0, 1, 2, 3, 4, 7, 8, 9, 64, 4096])
        region = rng.choice(safe)
        if rng.random() < 0.5:
            client.try_call(vu.REGION_READ, vu.region_body(region, offset, count))
        else:
            body = vu.region_body(region, offset, count, rng.randbytes(count))
            client.try_call(vu.REGION_WRITE, body)
    client.check_in_step()
    assert client.read(vu.BAR2, 77, 9) == td.pattern(77, 9)


# ------------------------------------------------------------------ memory that goes away


def test_truncated_memory_ends_only_its_own_session(two_devices):
    """While the device copies. The other device's client notices nothing."""
    size = 32 << 20
    with two_devices.negotiated(0) as bad, two_devices.negotiated(1) as good:
        for client in (bad, good):
            td.enable_bus_master(client)
        with vu.memory_file(PAGE, b"good's memory") as fd:
            good.dma_map(0, PAGE, fd)
        with vu.memory_file(2 * size) as fd:
            bad.dma_map(0, 2 * size, fd)
            for _ in range(4):
                bad.write(vu.BAR1, td.REG_DMA_SRC, struct.pack("=QQQ", 0, size, size))
                bad.post_write(vu.BAR1, td.REG_DMA_GO, struct.pack("=I", td.DMA_COPY))
            os.ftruncate(fd, 0)
            with contextlib.suppress(vu.Disconnected):  # cut off in a copy before this one
                bad.post_write(vu.BAR1, td.REG_DMA_GO, struct.pack("=I", td.DMA_COPY))
            expect_cut_off(bad)
        good.check_in_step()
        assert td.dma_read(good, 0, 13) == b"good's memory"
        with two_devices.negotiated(0) as again:
            again.check_in_step()


@pytest.mark.parametrize("left", [0, PAGE, 2 * PAGE + 100])
@pytest.mark.parametrize("command", [td.DMA_TO_BAR0, td.DMA_FROM_BAR0, td.DMA_COPY])
def test_truncated_memory(two_devices, command, left):
    with two_devices.negotiated(0) as client, vu.memory_file(8 * PAGE) as fd:
        td.enable_bus_master(client)
        client.dma_map(0, 8 * PAGE, fd)
        os.ftruncate(fd, left)
        body = struct.pack("=QQQ", 0, 4 * PAGE, 4 * PAGE)
        client.write(vu.BAR1, td.REG_DMA_SRC, body)
        client.post_write(vu.BAR1, td.REG_DMA_GO, struct.pack("=I", command))
        expect_cut_off(client)
    with two_devices.negotiated(1) as other:
        other.check_in_step()


def test_memory_that_shrinks_and_is_not_touched(dma_client):
    """No harm done, no session ended."""
    with vu.memory_file(8 * PAGE) as fd:
        dma_client.dma_map(0, 8 * PAGE, fd)
        os.ftruncate(fd, PAGE)
        assert td.dma(dma_client, td.DMA_TO_BAR0, src=0, length=PAGE) == 0
        dma_client.check_in_step()
        assert dma_client.dma_unmap(0, 8 * PAGE) == 8 * PAGE


def test_hole_punched_while_mapped(dma_client):
    """Pages that are given back read as zeros; that is the client's affair."""
    with vu.memory_file(2 * PAGE, b"x" * 2 * PAGE) as fd:
        dma_client.dma_map(0, 2 * PAGE, fd)
        os.ftruncate(fd, 0)
        os.ftruncate(fd, 2 * PAGE)
        assert td.dma_read(dma_client, 0, 2 * PAGE) == bytes(2 * PAGE)


# ------------------------------------------------------------------ interrupts that hang


@pytest.mark.parametrize("index", [vu.MSIX, vu.REQ])
def test_full_eventfd(two_devices, index):
    """A blocking eventfd whose counter is full stops who writes to it. The server frees itself,
    ends that session, and its other device never notices."""
    fd = os.eventfd(0, os.EFD_CLOEXEC)
    try:
        with two_devices.negotiated(0) as bad, two_devices.negotiated(1) as good:
            bad.set_irqs(FD_TRIGGER, index, 0, 1, fds=[fd])
            os.eventfd_write(fd, 0xFFFFFFFFFFFFFFFE)
            bad.post_write(vu.BAR1, td.REG_TRIGGER, struct.pack("=I", index << 16))
            good.check_in_step()
            expect_cut_off(bad)
            good.check_in_step()
            with two_devices.negotiated(0) as again:
                again.check_in_step()
    finally:
        os.close(fd)


def test_full_eventfd_that_does_not_block(client):
    """Signalled already, as full as it gets: nothing is lost that the client could notice."""
    with vu.eventfds(1) as (fd,):
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 1, fds=[fd])
        os.eventfd_write(fd, 0xFFFFFFFFFFFFFFFE)
        assert td.trigger(client, vu.MSIX, 0) == 0
        client.check_in_step()


def test_full_eventfd_by_loopback(server):
    """The same, written by the session's own thread on its own client's request."""
    fd = os.eventfd(0, os.EFD_CLOEXEC)
    try:
        with server.negotiated() as bad:
            bad.set_irqs(FD_TRIGGER, vu.MSIX, 0, 1, fds=[fd])
            os.eventfd_write(fd, 0xFFFFFFFFFFFFFFFE)
            body = vu.set_irqs_body(vu.DATA_NONE | vu.ACTION_TRIGGER, vu.MSIX, 0, 1)
            bad.request(vu.DEVICE_SET_IRQS, body, flags=vu.NO_REPLY)
            expect_cut_off(bad)
    finally:
        os.close(fd)


def test_unmask_eventfd_that_never_stops(server):
    """Signalled without end; requests are still served, and a raised line costs no more than the
    client's own time."""
    with server.negotiated() as client, vu.eventfds(2) as (intx, unmask):
        client.set_irqs(FD_TRIGGER, vu.INTX, 0, 1, fds=[intx])
        body = vu.set_irqs_body(vu.DATA_EVENTFD | vu.ACTION_UNMASK, vu.INTX, 0, 1)
        client.call(vu.DEVICE_SET_IRQS, body, [unmask])
        td.set_level(client, True)
        for _ in range(500):
            os.eventfd_write(unmask, 1)
            client.check_in_step()
        assert vu.signalled(intx) >= 2


def test_unmask_eventfd_that_is_always_readable(own_server):
    """A semaphore with 2^64 - 2 to give. The server may be kept busy by it, not from its work."""
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
    try:
        with own_server.negotiated() as client, vu.eventfds(1) as (intx,):
            client.set_irqs(FD_TRIGGER, vu.INTX, 0, 1, fds=[intx])
            os.eventfd_write(fd, 0xFFFFFFFFFFFFFFFE)
            body = vu.set_irqs_body(vu.DATA_EVENTFD | vu.ACTION_UNMASK, vu.INTX, 0, 1)
            client.call(vu.DEVICE_SET_IRQS, body, [fd])
            td.set_level(client, True)
            for _ in range(100):
                client.check_in_step()
            own_server.stop()
    finally:
        os.close(fd)


def test_unmask_eventfd_read_by_the_client_too(server):
    """Both are woken, one finds it empty: a blocking read there would hang the session."""
    fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        with server.negotiated() as client, vu.eventfds(1) as (intx,):
            client.set_irqs(FD_TRIGGER, vu.INTX, 0, 1, fds=[intx])
            body = vu.set_irqs_body(vu.DATA_EVENTFD | vu.ACTION_UNMASK, vu.INTX, 0, 1)
            client.call(vu.DEVICE_SET_IRQS, body, [fd])
            os.set_blocking(fd, True)
            for _ in range(2000):
                os.eventfd_write(fd, 1)
                os.set_blocking(fd, False)
                vu.signalled(fd)
                os.set_blocking(fd, True)
            client.check_in_step()
    finally:
        os.close(fd)
