# SPDX-License-Identifier: BSD-3-Clause
"""
Client memory without a file: DMA_READ and DMA_WRITE, which the server sends and the client answers.
The client's end is here, byte by byte after the specification; the device's is testdev's engine.
"""

import errno
import os
import random
import struct
import time

import pytest
import testdev as td
import vfiouser as vu
from vfiouser import BAR0, BAR1, PAGE

BASE = 0x100000
CHUNK = 65536  # the most that the server asks for at once
READ, WRITE = td.DMA_TO_BAR0, td.DMA_FROM_BAR0
KINDS = [td.DMA_ENGINE, td.DMA_ASYNC]


# ------------------------------------------------------------------ the client's end


class Request:
    """A DMA_READ or DMA_WRITE of the server."""

    def __init__(self, client):
        fds = []
        raw = client.recv_exact(vu.HEADER_SIZE, fds)
        self.id, self.command, size, flags, error = struct.unpack("=HHIII", raw)
        assert (flags, error) == (vu.COMMAND, 0) and not fds
        assert self.command in (vu.DMA_READ, vu.DMA_WRITE)
        body = client.recv_exact(size - vu.HEADER_SIZE, fds)
        self.address, self.count = struct.unpack_from("=QQ", body)
        self.data = body[16:]
        assert 0 < self.count <= CHUNK and not fds
        assert len(self.data) == (self.count if self.command == vu.DMA_WRITE else 0)

    def good_body(self, data=None, write_count="Q"):
        if self.command == vu.DMA_READ:
            return struct.pack("=QQ", self.address, self.count) + data
        return struct.pack("=Q" + write_count, self.address, self.count)


def answer(client, request, body, flags=vu.REPLY, error=0, msg_id=None, command=None, fds=()):
    msg_id = request.id if msg_id is None else msg_id
    command = request.command if command is None else command
    raw = vu.header(msg_id, command, vu.HEADER_SIZE + len(body), flags, error)
    client.send(raw + body, fds)


def refuse(client, request, number):
    answer(client, request, b"", vu.REPLY | vu.ERROR, number)


class Memory:
    """Bytes at BASE that only messages can reach."""

    def __init__(self, client, size, flags=vu.READABLE | vu.WRITEABLE):
        self.client = client
        self.bytes = bytearray(random.Random(size).randbytes(size))
        client.dma_map(BASE, size, flags=flags)

    def serve(self, request, write_count="Q"):
        at = request.address - BASE
        assert 0 <= at and at + request.count <= len(self.bytes)
        if request.command == vu.DMA_WRITE:
            self.bytes[at : at + request.count] = request.data
        data = bytes(self.bytes[at : at + request.count])
        answer(self.client, request, request.good_body(data, write_count))

    def serve_bytes(self, count, write_count="Q"):
        """Requests of `count` bytes in all. Returns them."""
        served = []
        while count > 0:
            served.append(Request(self.client))
            self.serve(served[-1], write_count)
            count -= served[-1].count
        assert count == 0
        return served


def start(client, command, kind, address, length):
    """Let the device begin. The register write is answered before anything is asked of us."""
    client.write(BAR1, td.REG_DMA_SRC, struct.pack("=QQQ", address, address, length))
    client.write32(BAR1, td.REG_DMA_GO, command | kind)


def finish(client, done):
    """Wait for the device's interrupt; returns the outcome, 0 or an errno."""
    assert vu.wait_signalled(done) == 1
    return client.read32(BAR1, td.REG_RESULT)


@pytest.fixture
def done(dma_client):
    """The interrupt of the DMA engine's end."""
    with vu.eventfds(1) as fds:
        flags = vu.DATA_EVENTFD | vu.ACTION_TRIGGER
        dma_client.set_irqs(flags, vu.MSIX, td.DMA_VECTOR, 1, fds=fds)
        yield fds[0]


# ------------------------------------------------------------------ what goes right


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 8, 4095, PAGE, PAGE + 1, 65535])
def test_read(dma_client, done, kind, length):
    memory = Memory(dma_client, 32 * PAGE)
    start(dma_client, READ, kind, BASE + 3, length)
    served = memory.serve_bytes(length)
    assert all(r.command == vu.DMA_READ for r in served)
    assert finish(dma_client, done) == 0
    assert dma_client.read(BAR0, 0, length) == memory.bytes[3 : 3 + length]


@pytest.mark.parametrize("write_count", ["Q", "I"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 8, PAGE + 1, 65536])
def test_write(dma_client, done, kind, length, write_count):
    """The count of the answer has 8 bytes, or 4 as in the specification's table."""
    memory = Memory(dma_client, 32 * PAGE)
    before = bytes(memory.bytes)
    data = random.Random(7).randbytes(length)
    dma_client.write(BAR0, 0, data)
    start(dma_client, WRITE, kind, BASE + 5, length)
    served = memory.serve_bytes(length, write_count)
    assert all(r.command == vu.DMA_WRITE for r in served)
    assert finish(dma_client, done) == 0
    assert memory.bytes == before[:5] + data + before[5 + length :]


@pytest.mark.parametrize("distance", [-PAGE, -1, 1, PAGE, 3 * CHUNK])
def test_copy_is_as_by_memmove(dma_client, done, distance):
    memory = Memory(dma_client, 8 * CHUNK)
    model = bytearray(memory.bytes)
    src, length = 2 * CHUNK, 2 * CHUNK + 17
    model[src + distance : src + distance + length] = model[src : src + length]
    body = struct.pack("=QQQ", BASE + src, BASE + src + distance, length)
    dma_client.write(BAR1, td.REG_DMA_SRC, body)
    dma_client.write32(BAR1, td.REG_DMA_GO, td.DMA_COPY | td.DMA_ENGINE)
    memory.serve_bytes(2 * length)
    assert finish(dma_client, done) == 0
    assert memory.bytes == model


@pytest.mark.parametrize("kind", KINDS)
def test_a_range_with_and_without_files(dma_client, done, kind):
    """Only what has no file is asked for."""
    content = random.Random(1).randbytes(4 * PAGE)
    with vu.memory_file(4 * PAGE, content) as fd:
        dma_client.dma_map(BASE + 2 * PAGE, 4 * PAGE, fd)
        memory = Memory(dma_client, 2 * PAGE)
        dma_client.dma_map(BASE + 6 * PAGE, PAGE)
        start(dma_client, READ, kind, BASE + 100, 6 * PAGE)
        memory.serve_bytes(2 * PAGE - 100)
        last = Request(dma_client)
        assert (last.address, last.count) == (BASE + 6 * PAGE, 100)
        answer(dma_client, last, last.good_body(b"\x5a" * 100))
        assert finish(dma_client, done) == 0
        expected = memory.bytes[100:] + content + b"\x5a" * 100
        assert dma_client.read(BAR0, 0, 6 * PAGE) == expected

        start(dma_client, WRITE, kind, BASE + PAGE, 2 * PAGE)
        memory.serve_bytes(PAGE)
        assert finish(dma_client, done) == 0
        assert memory.bytes[PAGE:] == expected[:PAGE]
        assert os.pread(fd, PAGE, 0) == expected[PAGE : 2 * PAGE]


@pytest.mark.parametrize("limit", [1, 100, 4096, 1 << 20])
def test_chunks_are_what_the_client_takes(server, limit):
    text = '{"capabilities": {"max_data_xfer_size": %d, "max_msg_fds": 8}}' % limit
    with vu.Client(server.path) as client, vu.eventfds(1) as fds:
        client.negotiate(text=text)
        td.enable_bus_master(client)
        client.set_irqs(vu.DATA_EVENTFD | vu.ACTION_TRIGGER, vu.MSIX, td.DMA_VECTOR, 1, fds=fds)
        memory = Memory(client, 32 * PAGE)
        length = min(limit * 5, 65536)
        start(client, READ, td.DMA_ENGINE, BASE, length)
        served = memory.serve_bytes(length)
        assert max(r.count for r in served) == min(limit, CHUNK)
        assert finish(client, fds[0]) == 0
        assert client.read(BAR0, 0, length) == memory.bytes[:length]


def test_answers_out_of_order(server):
    """Several requests are under way; each answer finds its own."""
    with vu.Client(server.path) as client, vu.eventfds(1) as fds:
        client.negotiate(text='{"capabilities": {"max_data_xfer_size": 512}}')
        td.enable_bus_master(client)
        client.set_irqs(vu.DATA_EVENTFD | vu.ACTION_TRIGGER, vu.MSIX, td.DMA_VECTOR, 1, fds=fds)
        memory = Memory(client, 32 * PAGE)
        rng = random.Random(3)
        start(client, READ, td.DMA_ASYNC, BASE, 40 * 512)
        waiting = [Request(client) for _ in range(16)]
        assert len({r.id for r in waiting}) == 16
        answered = 0
        while waiting:
            memory.serve(waiting.pop(rng.randrange(len(waiting))))
            answered += 1
            if answered + len(waiting) < 40:
                waiting.append(Request(client))
        assert finish(client, fds[0]) == 0
        assert client.read(BAR0, 0, 40 * 512) == memory.bytes[: 40 * 512]


def test_ids_are_the_servers_own(dma_client, done):
    """A request of ours with the same id as one of the server's is another one."""
    memory = Memory(dma_client, PAGE)
    start(dma_client, READ, td.DMA_ASYNC, BASE, 8)
    request = Request(dma_client)
    dma_client.next_id = request.id
    dma_client.check_in_step()
    memory.serve(request)
    assert finish(dma_client, done) == 0


def test_answer_in_pieces(dma_client, done):
    Memory(dma_client, PAGE)
    start(dma_client, READ, td.DMA_ENGINE, BASE, 64)
    request = Request(dma_client)
    body = request.good_body(b"\xa5" * 64)
    raw = vu.header(request.id, vu.DMA_READ, vu.HEADER_SIZE + len(body), vu.REPLY) + body
    dma_client.send_pieces([raw[:5], raw[5:20], raw[20:33], raw[33:]])
    assert finish(dma_client, done) == 0
    assert dma_client.read(BAR0, 0, 64) == b"\xa5" * 64


# ------------------------------------------------------------------ never a deadlock


@pytest.mark.parametrize("kind", KINDS)
def test_accesses_go_on_while_the_device_waits(dma_client, done, kind):
    memory = Memory(dma_client, PAGE)
    start(dma_client, READ, kind, BASE, 16)
    request = Request(dma_client)
    for _ in range(10):
        dma_client.check_in_step()
        dma_client.post_write(BAR1, td.REG_SCRATCH, b"\1\2\3\4")
        assert dma_client.read32(BAR1, td.REG_RESULT) == errno.EINPROGRESS
    dma_client.reset() if kind == td.DMA_ASYNC else None
    memory.serve(request)
    assert finish(dma_client, done) == 0


def test_answers_come_before_requests(dma_client, done):
    """What was asked together with the access that starts the DMA is answered first."""
    memory = Memory(dma_client, PAGE)
    dma_client.write(BAR1, td.REG_DMA_SRC, struct.pack("=QQQ", BASE, BASE, 8))
    go = vu.region_body(BAR1, td.REG_DMA_GO, 4, struct.pack("=I", READ | td.DMA_ASYNC))
    read = vu.region_body(vu.BAR2, 0, 4)
    dma_client.send(vu.message(vu.REGION_WRITE, go, 1) + vu.message(vu.REGION_READ, read, 2))
    dma_client.expect_reply(1, vu.REGION_WRITE)
    assert dma_client.expect_reply(2, vu.REGION_READ).body[16:] == td.pattern(0, 4)
    memory.serve(Request(dma_client))
    assert finish(dma_client, done) == 0


def test_posted_start(dma_client, done):
    memory = Memory(dma_client, PAGE)
    dma_client.write(BAR1, td.REG_DMA_SRC, struct.pack("=QQQ", BASE, BASE, 8))
    dma_client.post_write(BAR1, td.REG_DMA_GO, struct.pack("=I", READ | td.DMA_ASYNC))
    memory.serve(Request(dma_client))
    assert finish(dma_client, done) == 0


def test_a_flood_of_posted_writes_does_not_starve_the_device(dma_client, done):
    memory = Memory(dma_client, PAGE)
    start(dma_client, READ, td.DMA_ASYNC, BASE, 8)
    body = vu.region_body(BAR1, td.REG_SCRATCH, 4, b"\0\0\0\0")
    dma_client.send(vu.message(vu.REGION_WRITE, body, flags=vu.NO_REPLY) * 5000)
    memory.serve(Request(dma_client))
    assert finish(dma_client, done) == 0


@pytest.mark.parametrize("command", [READ, WRITE, td.DMA_COPY])
def test_a_callback_may_not_wait(dma_client, command):
    Memory(dma_client, PAGE)
    assert td.dma(dma_client, command, BASE, BASE, 8) == errno.EDEADLK
    dma_client.check_in_step()


def test_a_reset_does_not_wait_for_an_engine_that_waits(dma_client, done):
    memory = Memory(dma_client, PAGE)
    start(dma_client, READ, td.DMA_ENGINE, BASE, 8)
    request = Request(dma_client)
    dma_client.reset()
    assert vu.wait_signalled(done) == 1
    memory.serve(request)  # late: nobody waits for it, and that is no offence
    dma_client.check_in_step()


# ------------------------------------------------------------------ errors


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", [READ, WRITE])
@pytest.mark.parametrize("number", [errno.ENODEV, errno.E2BIG, errno.EINVAL, 4095])
def test_the_clients_error(dma_client, done, kind, command, number):
    Memory(dma_client, PAGE)
    start(dma_client, command, kind, BASE, 8)
    refuse(dma_client, Request(dma_client), number)
    assert finish(dma_client, done) == number
    dma_client.check_in_step()


def test_an_error_that_says_nothing(dma_client, done):
    Memory(dma_client, PAGE)
    start(dma_client, READ, td.DMA_ENGINE, BASE, 8)
    refuse(dma_client, Request(dma_client), 0)
    assert finish(dma_client, done) == errno.EIO


def test_the_first_error_counts(server):
    with vu.Client(server.path) as client, vu.eventfds(1) as fds:
        client.negotiate(text='{"capabilities": {"max_data_xfer_size": 512}}')
        td.enable_bus_master(client)
        client.set_irqs(vu.DATA_EVENTFD | vu.ACTION_TRIGGER, vu.MSIX, td.DMA_VECTOR, 1, fds=fds)
        memory = Memory(client, 32 * PAGE)
        start(client, READ, td.DMA_ASYNC, BASE, 40 * 512)
        requests = [Request(client) for _ in range(16)]
        refuse(client, requests[3], errno.ENODEV)
        refuse(client, requests[1], errno.E2BIG)
        for i in set(range(16)) - {1, 3}:
            assert vu.signalled(fds[0]) == 0
            memory.serve(requests[i])
        assert finish(client, fds[0]) == errno.ENODEV
        client.expect_silence()


@pytest.mark.parametrize("kind", KINDS)
def test_checked_before_anything_is_asked(dma_client, kind):
    memory = Memory(dma_client, 2 * PAGE, vu.READABLE)
    assert len(memory.bytes) == 2 * PAGE
    for command, address, number in [
        (READ, BASE + PAGE + 1, errno.EFAULT),
        (READ, BASE - 1, errno.EFAULT),
        (WRITE, BASE, errno.EPERM),
    ]:
        before = td.count(dma_client, td.COUNT_DMA_DONE)
        start(dma_client, command, kind, address, PAGE)
        deadline = time.monotonic() + vu.TIMEOUT
        while dma_client.read32(BAR1, td.REG_RESULT) == errno.EINPROGRESS:
            assert time.monotonic() < deadline
        assert dma_client.read32(BAR1, td.REG_RESULT) == number
        if kind == td.DMA_ASYNC:  # refused at once: there is no callback
            assert td.count(dma_client, td.COUNT_DMA_DONE) == before
    dma_client.expect_silence()


def test_bus_mastering_off_in_the_middle(server):
    with vu.Client(server.path) as client, vu.eventfds(1) as fds:
        client.negotiate(text='{"capabilities": {"max_data_xfer_size": 512}}')
        td.enable_bus_master(client)
        client.set_irqs(vu.DATA_EVENTFD | vu.ACTION_TRIGGER, vu.MSIX, td.DMA_VECTOR, 1, fds=fds)
        memory = Memory(client, 32 * PAGE)
        start(client, READ, td.DMA_ASYNC, BASE, 40 * 512)
        requests = [Request(client) for _ in range(16)]
        client.write(vu.CONFIG, 4, b"\0\0")
        for request in requests:
            memory.serve(request)
        assert finish(client, fds[0]) == errno.ENODEV
        client.expect_silence()


def test_unmapped_in_the_middle(server):
    """What is not asked for yet never is."""
    with vu.Client(server.path) as client, vu.eventfds(1) as fds:
        client.negotiate(text='{"capabilities": {"max_data_xfer_size": 512}}')
        td.enable_bus_master(client)
        client.set_irqs(vu.DATA_EVENTFD | vu.ACTION_TRIGGER, vu.MSIX, td.DMA_VECTOR, 1, fds=fds)
        memory = Memory(client, 32 * PAGE)
        start(client, READ, td.DMA_ASYNC, BASE, 40 * 512)
        requests = [Request(client) for _ in range(16)]
        assert client.dma_unmap(BASE, 32 * PAGE) == 32 * PAGE
        for request in requests:
            memory.serve(request)
        assert finish(client, fds[0]) == errno.EFAULT
        client.expect_silence()


# ------------------------------------------------------------------ answers that end the connection

BAD_ANSWERS = {
    "another id": lambda r: dict(body=r.good_body(b"\0" * 8), msg_id=r.id + 1),
    "another command": lambda r: dict(body=r.good_body(b"\0" * 8), command=23 - r.command),
    "a command of ours": lambda r: dict(body=b"", command=vu.REGION_READ),
    "no body": lambda r: dict(body=b""),
    "no data": lambda r: dict(body=r.good_body(b"\0" * 8)[:-1]),
    "one byte more": lambda r: dict(body=r.good_body(b"\0" * 8) + b"\0"),
    "another address": lambda r: dict(
        body=struct.pack("=QQ", r.address + 1, r.count) + b"\0" * (8 if r.command == 11 else 0)
    ),
    "another count": lambda r: dict(
        body=struct.pack("=QQ", r.address, r.count - 1) + b"\0" * (8 if r.command == 11 else 0)
    ),
    "a huge count": lambda r: dict(
        body=struct.pack("=QQ", r.address, r.count | 1 << 32)
        + b"\0" * (8 if r.command == 11 else 0)
    ),
    "less data, and says so": lambda r: dict(body=struct.pack("=QQ", r.address, 4) + b"\0" * 4),
    "an error with a body": lambda r: dict(
        body=r.good_body(b"\0" * 8), flags=vu.REPLY | vu.ERROR, error=5
    ),
    "no errno": lambda r: dict(body=b"", flags=vu.REPLY | vu.ERROR, error=4096),
    "a negative errno": lambda r: dict(body=b"", flags=vu.REPLY | vu.ERROR, error=2**32 - 5),
    "unknown flags": lambda r: dict(body=r.good_body(b"\0" * 8), flags=vu.REPLY | 0x40),
    "no reply": lambda r: dict(body=r.good_body(b"\0" * 8), flags=vu.REPLY | vu.NO_REPLY),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", [READ, WRITE])
@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_bad_answer(dma_client, name, command, kind):
    Memory(dma_client, PAGE)
    start(dma_client, command, kind, BASE, 8)
    request = Request(dma_client)
    answer(dma_client, request, **BAD_ANSWERS[name](request))
    dma_client.expect_closed()


def test_the_same_answer_twice(dma_client, done):
    memory = Memory(dma_client, PAGE)
    start(dma_client, READ, td.DMA_ENGINE, BASE, 8)
    request = Request(dma_client)
    memory.serve(request)
    assert finish(dma_client, done) == 0
    memory.serve(request)
    dma_client.expect_closed()


def test_an_answer_with_a_file(dma_client):
    Memory(dma_client, PAGE)
    start(dma_client, READ, td.DMA_ENGINE, BASE, 8)
    request = Request(dma_client)
    with vu.memory_file() as fd:
        answer(dma_client, request, request.good_body(b"\0" * 8), fds=(fd,))
        dma_client.expect_closed()


def test_an_answer_to_nothing(dma_client):
    Memory(dma_client, PAGE)
    dma_client.send(vu.header(0, vu.DMA_READ, 16 + 24, vu.REPLY) + struct.pack("=QQQ", BASE, 8, 0))
    dma_client.expect_closed()


# ------------------------------------------------------------------ endings


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("command", [READ, WRITE])
def test_the_client_leaves_in_the_middle(server, kind, command):
    """Nobody waits any more: the next client finds the device, and no thread is left."""
    for half in (False, True):
        with server.negotiated() as client:
            td.enable_bus_master(client)
            Memory(client, 32 * PAGE)
            start(client, command, kind, BASE, 65536)
            request = Request(client)
            if half:
                body = request.good_body(b"\0" * request.count)
                size = vu.HEADER_SIZE + len(body)
                client.send(vu.header(request.id, request.command, size, vu.REPLY) + body[:9])
    with server.negotiated() as client:
        assert client.read32(BAR1, td.REG_RESULT) in (errno.ENODEV, 0)
        td.enable_bus_master(client)
        memory = Memory(client, PAGE)
        start(client, READ, td.DMA_ASYNC, BASE, 8)
        memory.serve_bytes(8)
        assert client.read(BAR0, 0, 8) == memory.bytes[:8]


def test_removal_in_the_middle(own_server):
    """SIGTERM while an engine waits for its client."""
    with own_server.negotiated() as client:
        td.enable_bus_master(client)
        Memory(client, PAGE)
        start(client, READ, td.DMA_ENGINE, BASE, 8)
        Request(client)
        own_server.stop()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sent", [0, 21])
def test_a_client_that_never_answers(server, kind, sent):
    """It is cut off after five seconds, also when it has begun to answer."""
    with server.negotiated() as client:
        td.enable_bus_master(client)
        Memory(client, PAGE)
        start(client, READ, kind, BASE, 8)
        request = Request(client)
        body = request.good_body(b"\0" * 8)
        raw = vu.header(request.id, request.command, vu.HEADER_SIZE + len(body), vu.REPLY) + body
        client.send(raw[:sent])
        client.expect_closed()


def test_a_client_that_talks_of_other_things(server):
    """Its accesses are answered, until its time is over."""
    with server.negotiated() as client:
        td.enable_bus_master(client)
        Memory(client, PAGE)
        start(client, READ, td.DMA_ENGINE, BASE, 8)
        Request(client)
        deadline = time.monotonic() + vu.TIMEOUT
        with pytest.raises(vu.Disconnected):
            while time.monotonic() < deadline:
                client.check_in_step()
