# SPDX-License-Identifier: BSD-3-Clause
"""Regions that fault: docs/protocol.md. The device is tests/drivers/umdev-faultdev.c."""

import contextlib
import errno
import json
import mmap
import os
import re
import socket
import struct
import subprocess
import threading
import time

import faultclient as fc
import pytest
import vfiouser as vu
from faultclient import READ, RW, WRITE, Channel, packet
from server import BUILD_DIR, Server
from vfiouser import PAGE

TABLE, WINDOW, READONLY, SMALL = vu.BAR2, vu.BAR4, vu.BAR5, 9
SIZES = {TABLE: 256 * PAGE, WINDOW: 16 * PAGE, READONLY: 4 * PAGE, SMALL: 5 * PAGE}
INDEX, ENTRY, FIRST, LAST, ROUNDS, DONE, RESULT, ASKED, EXTEND, WRONG, DELAY, DISCARD, REGION = range(
    0, 0x34, 4
)
VALID, WRITABLE = 1, 2
SHARED = 3  # the object of all devices
WRONGS = {"object": 1, "region": 2, "page": 3, "prot": 4, "no object": 5, "positive": 6}
INVALIDATES = 7
BOUND = 5  # seconds that a client may take for an acknowledgement


def entry(client, page, obj, obj_page, writable=True):
    client.write32(vu.BAR0, INDEX, page)
    value = VALID | (WRITABLE if writable else 0) | obj << 8 | obj_page << 16
    client.write32(vu.BAR0, ENTRY, value)


def clear(client, page):
    client.write32(vu.BAR0, INDEX, page)
    client.write32(vu.BAR0, ENTRY, 0)


def number(obj, page):
    """What a page begins with."""
    return struct.pack("=II", obj, page)


def post_invalidate(client, first, last, region=TABLE):
    """The write that invalidates; its reply comes after the acknowledgement."""
    client.write32(vu.BAR0, REGION, region)
    client.write32(vu.BAR0, FIRST, first)
    body = vu.region_body(vu.BAR0, LAST, 4, struct.pack("=I", last))
    return client.request(vu.REGION_WRITE, body)


def invalidate(client, channel, first, last, region=TABLE):
    msg_id = post_invalidate(client, first, last, region)
    channel.expect_invalidate(region, first * PAGE, last * PAGE + PAGE - 1)
    assert not client.expect_reply(msg_id, vu.REGION_WRITE).errno
    assert client.read32(vu.BAR0, RESULT) == 0


def wait_for(condition, what):
    deadline = time.monotonic() + vu.TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)


class _Server:
    """One faultdev a module; each test finds it at rest and leaves it so."""

    def __init__(self, *arguments, **options):
        self.arguments, self.options, self.server = arguments, options, None

    @contextlib.contextmanager
    def checked(self, request):
        if self.server is None:
            self.server = Server("faultdev", *self.arguments, **self.options)
        try:
            yield self.server
            if not getattr(request.node, "test_failed", False):
                self.server.check()
        except BaseException:
            self.drop(request)
            raise
        if getattr(request.node, "test_failed", False):
            self.drop(request)

    def drop(self, _request):
        server, self.server = self.server, None
        print(f"--- the server's stderr\n{server.stderr()}")
        server.kill()

    def stop(self):
        if self.server:
            self.server.stop()


def _shared(*arguments, **options):
    @pytest.fixture(scope="module")
    def fixture():
        shared = _Server(*arguments, **options)
        yield shared
        shared.stop()

    return fixture


_faultdev = _shared()
_trusting = _shared("--trust-client")
_two = _shared(devices=2)


@pytest.fixture
def server(request, _faultdev):
    with _faultdev.checked(request) as server:
        yield server


@pytest.fixture
def client(server):
    """A client that knows of faults, without a channel."""
    with server.negotiated(text=fc.CAPABILITIES) as client:
        yield client


@pytest.fixture
def channel(client):
    with Channel(client) as channel:
        yield channel


@pytest.fixture
def old_client(server):
    """As QEMU: it has never heard of faults."""
    with server.negotiated() as client:
        yield client


@pytest.fixture
def two_devices(request, _two):
    with _two.checked(request) as server:
        yield server


# ------------------------------------------------------------------ VERSION, GET_REGION_INFO


def version_text(umdev):
    return '{"capabilities":{"max_msg_fds":16,"umdev":%s}}' % umdev


@pytest.mark.parametrize("offered", ['{"fault":1}', '{"fault":2}', '{"fault":1,"later":[1,2]}'])
def test_version_names_it_back(server, offered):
    with server.client() as client:
        assert client.negotiate(text=version_text(offered))[2]["umdev"] == {"fault": 1}


@pytest.mark.parametrize("text", [vu.QEMU_CAPABILITIES, None, "{}", version_text("{}")])
def test_version_without_it(server, text):
    with server.client() as client:
        assert "umdev" not in client.negotiate(text=text)[2]
        assert fc.CAP_FAULT not in client.region_info(TABLE).caps
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            client.fails(errno.ENOSYS, fc.FAULT_CHANNEL, fc.channel_body(), [theirs.fileno()])


@pytest.mark.parametrize("umdev", ["1", "[]", '{"fault":0}', '{"fault":"1"}', '{"fault":true}'])
def test_version_malformed(server, umdev):
    with server.client() as client:
        reply = client.try_call(vu.VERSION, vu.version_body(text=version_text(umdev)))
        assert reply.errno == errno.EINVAL
        client.expect_closed()


def test_version_without_room_for_the_reply(server):
    """A reply that names nothing has not negotiated anything."""
    with server.client() as client:
        text = '{"capabilities":{"max_dma_maps":1,"umdev":{"fault":1}}}'
        assert client.negotiate(text=text)[2] == {}
        assert fc.CAP_FAULT not in client.region_info(TABLE).caps


@pytest.mark.parametrize("index", SIZES)
def test_region_info(client, index):
    info = client.region_info(index)
    assert info.size == SIZES[index] and not info.fds
    writable = 0 if index == READONLY else vu.REGION_FLAG_WRITE
    assert info.flags == vu.REGION_FLAG_READ | writable | vu.REGION_FLAG_CAPS
    assert info.caps[fc.CAP_FAULT] == (1, bytes(8))


def test_region_info_of_others(client):
    assert fc.CAP_FAULT not in client.region_info(vu.BAR0).caps


@pytest.mark.parametrize("index", SIZES)
def test_region_info_of_an_old_client(old_client, index):
    info = old_client.region_info(index)
    assert info.size == SIZES[index] and not info.fds and fc.CAP_FAULT not in info.caps
    assert not info.flags & vu.REGION_FLAG_MMAP


# ------------------------------------------------------------------ FAULT_CHANNEL


def test_channel_request_malformed(client):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        fd = theirs.fileno()
        for body in (b"", b"\x08\0\0\0", fc.channel_body(7), fc.channel_body(8, 1),
                     fc.channel_body() + b"\0"):
            client.fails(errno.EINVAL, fc.FAULT_CHANNEL, body, [fd])
        client.fails(errno.EINVAL, fc.FAULT_CHANNEL, fc.channel_body())
        client.fails(errno.EINVAL, fc.FAULT_CHANNEL, fc.channel_body(), [fd, fd])


def wrong_sockets():
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listening.bind(f"\0umdev-test-{os.getpid()}-{time.monotonic_ns()}")
    listening.listen()
    return {
        "stream": socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM),
        "datagram": socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM),
        "unconnected": [socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)],
        "listening": [listening],
        "internet": [socket.socket(socket.AF_INET, socket.SOCK_DGRAM)],
    }


def test_channel_wrong_fds(client):
    pipe = os.pipe()
    memfd = os.memfd_create("wire-test")
    for fd in (*pipe, memfd):
        client.fails(errno.EINVAL, fc.FAULT_CHANNEL, fc.channel_body(), [fd])
        os.close(fd)
    for sockets in wrong_sockets().values():
        client.fails(errno.EINVAL, fc.FAULT_CHANNEL, fc.channel_body(), [sockets[0].fileno()])
        for sock in sockets:
            sock.close()
    client.fails(errno.EINVAL, fc.FAULT_CHANNEL, fc.channel_body(), [client.sock.fileno()])


def test_second_channel(client, channel):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        client.fails(errno.EEXIST, fc.FAULT_CHANNEL, fc.channel_body(), [theirs.fileno()])
    assert not channel.fault(WINDOW, 0).error


# ------------------------------------------------------------------ faults


@pytest.mark.parametrize("offset", [0, 1, PAGE - 1, PAGE, 16 * PAGE - 1])
def test_window_is_one_to_one(client, channel, offset):
    """The driver leaves the 1:1 rule alone: the whole window, from page 4 of its object on."""
    got = channel.fault(WINDOW, offset, RW)
    assert (got.first, got.last, got.offset, got.prot) == (0, 16 * PAGE - 1, 4 * PAGE, RW)
    with channel.open_map(got) as m:
        assert [m[i * PAGE : i * PAGE + 8] for i in range(16)] == [number(1, i + 4) for i in range(16)]


def test_to_the_last_page(client, channel):
    """Answers that end with the region, and with the object."""
    entry(client, 255, 0, 63)
    got = channel.fault(TABLE, 256 * PAGE - 1)
    assert (got.first, got.last, got.offset) == (255 * PAGE, 256 * PAGE - 1, 63 * PAGE)
    got = channel.fault(SMALL, 5 * PAGE - 1)
    assert (got.first, got.last, got.offset) == (0, 5 * PAGE - 1, 0)


def test_table_chooses(client, channel):
    """Any page of any object, in any order; each object's fd comes once."""
    places = [(0, 0, 5), (1, 1, 5), (7, 2, 63), (200, 0, 0), (3, 2, 62)]
    for page, obj, obj_page in places:
        entry(client, page, obj, obj_page)
    for page, obj, obj_page in places:
        got = channel.fault(TABLE, page * PAGE + 123, WRITE)
        assert (got.first, got.offset) == (page * PAGE, obj_page * PAGE)
        with channel.open_map(got) as m:
            assert m[:8] == number(obj, obj_page)
            m[100:104] = struct.pack("=I", page)
        assert client.read32(TABLE, page * PAGE + 100) == page
    assert len(channel.objects) == 3


def test_messages_and_mappings_are_the_same_memory(client, channel):
    entry(client, 9, 1, 30)
    with channel.open_map(channel.fault(TABLE, 9 * PAGE, RW)) as m:
        client.write(TABLE, 9 * PAGE + 50, b"by message")
        assert m[50:60] == b"by message"


def test_extended_both_ways(client, channel):
    client.write32(vu.BAR0, EXTEND, 1)
    for page in range(10, 20):
        entry(client, page, 2, page + 20)
    entry(client, 20, 2, 50)
    got = channel.fault(TABLE, 15 * PAGE + 9)
    assert (got.first, got.last, got.offset) == (10 * PAGE, 20 * PAGE - 1, 30 * PAGE)


def test_refusal(client, channel):
    channel.refused(errno.EFAULT, TABLE, 77 * PAGE + 5)
    entry(client, 77, 0, 0)
    assert not channel.fault(TABLE, 77 * PAGE).error


def test_read_only_page(client, channel):
    """Read, it is mapped for reading; a write asks again."""
    entry(client, 4, 0, 4, writable=False)
    assert channel.fault(TABLE, 4 * PAGE, READ).prot == READ
    channel.refused(errno.EACCES, TABLE, 4 * PAGE, WRITE)
    channel.refused(errno.EACCES, TABLE, 4 * PAGE, RW)
    entry(client, 4, 0, 4)
    assert channel.fault(TABLE, 4 * PAGE, WRITE).prot == RW


def test_read_only_region(client, channel):
    got = channel.fault(READONLY, 3 * PAGE)
    assert (got.first, got.last, got.prot) == (0, 4 * PAGE - 1, READ)
    channel.refused(errno.EPERM, READONLY, 0, WRITE)
    with pytest.raises(PermissionError):
        mmap.mmap(channel.objects[got.object], PAGE)
    client.fails(errno.EPERM, vu.REGION_WRITE, vu.region_body(READONLY, 0, 1, b"x"))


@pytest.mark.parametrize("region, offset, access", [
    (TABLE, 256 * PAGE, READ), (TABLE, (1 << 64) - 1, READ), (SMALL, 5 * PAGE, READ),
    (vu.BAR0, 0, READ), (vu.BAR1, 0, READ), (vu.CONFIG, 0, READ), (vu.ROM, 0, READ), (10, 0, READ),
    (0xFFFFFFFF, 0, READ), (TABLE, 0, 0), (TABLE, 0, 4), (TABLE, 0, 0xFFFFFFFF),
])
def test_nonsense_is_refused(channel, region, offset, access):
    tag = channel.post(region, offset, access)
    got = channel.expect_map(tag, region)
    assert got.error == errno.EINVAL and got.first <= offset <= got.last
    assert not channel.fault(WINDOW, 0).error


@pytest.mark.parametrize("wrong", WRONGS)
def test_driver_that_answers_nonsense(client, channel, wrong):
    """EIO, on both paths."""
    entry(client, 0, 0, 0)
    client.write32(vu.BAR0, WRONG, WRONGS[wrong])
    channel.refused(errno.EIO, TABLE, 0)
    client.fails(errno.EIO, vu.REGION_READ, vu.region_body(TABLE, 0, 4))


def test_driver_that_invalidates_where_it_must_not(client, channel):
    entry(client, 0, 0, 0)
    client.write32(vu.BAR0, WRONG, INVALIDATES)
    channel.refused(errno.EDEADLK, TABLE, 0)


def test_many_at_once(client, channel):
    """64 open faults are answered in order."""
    for page in range(fc.MAX_OPEN):
        entry(client, page, page % 3, page)
    tags = [channel.post(TABLE, page * PAGE) for page in range(fc.MAX_OPEN)]
    for page, tag in enumerate(tags):
        got = channel.expect_map(tag, TABLE)
        assert (got.first, got.offset) == (page * PAGE, page * PAGE)


def test_tag_is_free_again(channel):
    for _ in range(200):
        channel.send(packet(fc.FAULT, tag=7, region=WINDOW, prot=READ))
        assert channel.expect_map(7, WINDOW).last == 16 * PAGE - 1


# ------------------------------------------------------------------ messages only


def test_trapped(old_client):
    entry(old_client, 3, 1, 60)
    entry(old_client, 4, 2, 1)
    assert old_client.read(TABLE, 3 * PAGE, 8) == number(1, 60)
    old_client.write(TABLE, 4 * PAGE - 3, b"straddle")
    assert old_client.read(TABLE, 4 * PAGE - 3, 8) == b"straddle"
    entry(old_client, 100, 1, 60)
    assert old_client.read(TABLE, 101 * PAGE - 3, 3) == b"str"
    assert old_client.read(WINDOW, 2 * PAGE, 8) == number(1, 6)


def test_trapped_refusals(old_client):
    """Up to the first page that is refused, with its errno."""
    entry(old_client, 0, 0, 0)
    entry(old_client, 2, 0, 2, writable=False)
    old_client.fails(errno.EFAULT, vu.REGION_READ, vu.region_body(TABLE, PAGE - 4, 8))
    body = vu.region_body(TABLE, PAGE - 4, 8, b"12345678")
    old_client.fails(errno.EFAULT, vu.REGION_WRITE, body)
    assert old_client.read(TABLE, PAGE - 4, 4) == b"1234"
    assert old_client.read(TABLE, 2 * PAGE, 8) == number(0, 2)
    old_client.fails(errno.EACCES, vu.REGION_WRITE, vu.region_body(TABLE, 2 * PAGE, 1, b"x"))


def test_trapped_sees_changes_at_once(old_client):
    for page in range(20):
        entry(old_client, 0, page % 3, page)
        assert old_client.read(TABLE, 0, 8) == number(page % 3, page)


def test_trapped_bounds(old_client):
    for index, size in SIZES.items():
        old_client.fails(errno.EINVAL, vu.REGION_READ, vu.region_body(index, size - 1, 2))


def test_trapped_all_of_a_region(old_client):
    assert len(old_client.read(WINDOW, 0, 16 * PAGE)) == 16 * PAGE
    assert old_client.read(SMALL, 0, 5 * PAGE)[4 * PAGE : 4 * PAGE + 8] == number(2, 4)


# ------------------------------------------------------------------ invalidation


def test_invalidate_in_a_callback(client, channel):
    """The write that causes it is answered after the acknowledgement, and the next touch asks."""
    entry(client, 5, 0, 1)
    channel.fault(TABLE, 5 * PAGE)
    entry(client, 5, 1, 2)
    msg_id = post_invalidate(client, 5, 5)
    got = channel.recv()
    assert (got.kind, got.region, got.first, got.last) == (
        fc.INVALIDATE, TABLE, 5 * PAGE, 6 * PAGE - 1)
    client.expect_silence()
    channel.acknowledge(got)
    assert not client.expect_reply(msg_id, vu.REGION_WRITE).errno
    got = channel.fault(TABLE, 5 * PAGE)
    assert got.offset == 2 * PAGE
    with channel.open_map(got) as m:
        assert m[:8] == number(1, 2)


def test_invalidate_the_whole_region(client, channel):
    entry(client, 255, 0, 1)
    channel.fault(TABLE, 255 * PAGE)
    invalidate(client, channel, 0, 255)


def test_invalidate_from_a_thread(client, channel):
    entry(client, 8, 0, 1)
    client.write32(vu.BAR0, FIRST, 0)
    channel.fault(TABLE, 8 * PAGE)
    # LAST is kept from a first invalidation, which no page was told of … but this one.
    invalidate(client, channel, 0, 20)
    channel.fault(TABLE, 8 * PAGE)
    client.write32(vu.BAR0, ROUNDS, 1)
    channel.expect_invalidate(TABLE, 0, 21 * PAGE - 1)
    wait_for(lambda: client.read32(vu.BAR0, DONE) == 2, "it does not return")


def test_untouched_pages_need_no_message(client, channel):
    """… nor those that were taken back already."""
    entry(client, 5, 0, 1)
    channel.fault(TABLE, 5 * PAGE)
    client.write32(vu.BAR0, FIRST, 6)
    client.write32(vu.BAR0, LAST, 255)
    invalidate(client, channel, 5, 5)
    client.write32(vu.BAR0, FIRST, 0)
    client.write32(vu.BAR0, LAST, 255)
    assert client.read32(vu.BAR0, DONE) == 3 and channel.silent()


def test_refused_pages_are_taken_back_too(client, channel):
    channel.refused(errno.EFAULT, TABLE, 40 * PAGE)
    invalidate(client, channel, 40, 40)


@pytest.mark.parametrize("first, last, region", [
    (5, 4, TABLE), (0, 256, TABLE), (256, 256, TABLE), (0, 0xFFFFFFFF, TABLE), (0, 0, vu.BAR0),
    (0, 0, vu.CONFIG), (0, 0, 10), (0, 5, SMALL),
])
def test_invalidate_what_is_not_there(client, channel, first, last, region):
    msg_id = post_invalidate(client, first, last, region)
    assert not client.expect_reply(msg_id, vu.REGION_WRITE).errno
    assert client.read32(vu.BAR0, RESULT) == errno.EINVAL and channel.silent()


def test_fault_while_an_invalidation_waits(client, channel):
    """The device's thread waits for the acknowledgement; faults are answered meanwhile."""
    entry(client, 0, 0, 0)
    entry(client, 1, 0, 1)
    channel.fault(TABLE, 0)
    invalidate(client, channel, 0, 0)
    channel.fault(TABLE, 0)
    client.write32(vu.BAR0, ROUNDS, 1)
    got = channel.recv()
    assert got.kind == fc.INVALIDATE
    assert not channel.fault(TABLE, PAGE).error
    assert not channel.fault(TABLE, 0).error
    channel.acknowledge(got)
    wait_for(lambda: client.read32(vu.BAR0, DONE) == 2, "it does not return")
    # The page was told of again before the acknowledgement: it is still known.
    invalidate(client, channel, 0, 0)


def test_fault_that_crosses_an_invalidation_in_a_callback(client, channel):
    """The callback holds the device's lock, which the answer needs: who waits for the
    acknowledgement reads the fault, and it is answered afterwards."""
    entry(client, 0, 0, 0)
    entry(client, 1, 0, 1)
    channel.fault(TABLE, 0)
    msg_id = post_invalidate(client, 0, 0)
    got = channel.recv()
    tags = [channel.post(TABLE, PAGE), channel.post(TABLE, 0)]
    time.sleep(0.05)
    assert channel.silent()
    channel.acknowledge(got)
    for tag in tags:
        assert not channel.expect_map(tag, TABLE).error
    assert not client.expect_reply(msg_id, vu.REGION_WRITE).errno


class Resolver:
    """A thread that handles the channel's packets, as a client's would: what is mapped where, by
    the first page of a region and in the order of the packets."""

    def __init__(self, channel):
        self.channel, self.mapped, self.open = channel, {}, set()
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        with contextlib.suppress(vu.Disconnected, OSError):
            while True:
                got = self.channel.recv()
                with self.changed:
                    if got.kind == fc.MAP:
                        self.mapped[got.region, got.first] = got
                        self.open.remove(got.tag)
                    else:
                        for region, first in list(self.mapped):
                            if region == got.region and got.first <= first <= got.last:
                                del self.mapped[region, first]
                        self.channel.acknowledge(got)
                    self.changed.notify_all()

    def post(self, region, offset, access=READ):
        with self.changed:
            tag = self.channel.post(region, offset, access)
            self.open.add(tag)

    def settle(self):
        """Until every fault is answered."""
        with self.changed:
            assert self.changed.wait_for(lambda: not self.open, vu.TIMEOUT)


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_what_is_mapped_is_current(client, channel, delay):
    """The driver looks its table up late, the table changes, its thread invalidates: when that has
    returned, a page that the client has is the page of the table."""
    resolver = Resolver(channel)
    entry(client, 0, 0, 0)
    client.write32(vu.BAR0, FIRST, 0)
    client.write32(vu.BAR0, DELAY, delay)
    for page in range(1, 60):
        resolver.post(TABLE, 0)
        client.write32(vu.BAR0, ENTRY, VALID | page << 16)
        client.write32(vu.BAR0, ROUNDS, 1)
        wait_for(lambda page=page: client.read32(vu.BAR0, DONE) == page, "not done")
        resolver.settle()
        got = resolver.mapped.get((TABLE, 0))
        assert got is None or got.offset == page * PAGE
        resolver.post(TABLE, 0)
        resolver.settle()
        assert resolver.mapped[TABLE, 0].offset == page * PAGE


def test_storm(client, channel):
    """Faults, table changes by messages, and the device's thread that invalidates."""
    rounds = 400
    resolver = Resolver(channel)
    entry(client, 0, 0, 0)
    client.write32(vu.BAR0, FIRST, 0)
    client.write32(vu.BAR0, LAST, 255)
    client.write32(vu.BAR0, ROUNDS, rounds)
    done = 0
    while done <= rounds:
        if len(resolver.open) < fc.MAX_OPEN:
            resolver.post(TABLE, done % 7 * PAGE)
        entry(client, done % 5, done % 3, done % 64)
        done = client.read32(vu.BAR0, DONE)
    resolver.settle()
    assert client.read(WINDOW, 0, 8) == number(1, 4)


# ------------------------------------------------------------------ memory


def test_discard(client, channel):
    """Zeros for everyone, at once."""
    entry(client, 0, 0, 9)
    with channel.open_map(channel.fault(TABLE, 0)) as m:
        assert m[:8] == number(0, 9)
        client.write32(vu.BAR0, DISCARD, 9 << 16)
        assert client.read32(vu.BAR0, RESULT) == 0
        assert m[:8] == bytes(8) and client.read(TABLE, 0, 8) == bytes(8)
    entry(client, 1, 0, 10)
    assert client.read(TABLE, PAGE, 8) == number(0, 10)
    client.write32(vu.BAR0, DISCARD, 64 << 16)
    assert client.read32(vu.BAR0, RESULT) == errno.EINVAL


def test_object_can_not_be_resized(channel):
    got = channel.fault(WINDOW, 0)
    for size in (0, PAGE, 1 << 30):
        with pytest.raises(PermissionError):
            os.ftruncate(channel.objects[got.object], size)


def test_next_client_has_other_files(server):
    """What the first one kept shows it nothing of the second."""
    with server.negotiated(text=fc.CAPABILITIES) as first, Channel(first) as channel:
        with channel.open_map(channel.fault(WINDOW, 0, RW)) as kept:
            kept[64:70] = b"before"
            first.close()
            with server.negotiated(text=fc.CAPABILITIES) as second, Channel(second) as other:
                with other.open_map(other.fault(WINDOW, 0, RW)) as m:
                    assert m[64:70] == b"before"
                    m[64:70] = b"behind"
                    assert kept[64:70] == b"before"


def test_shared_object_is_kept_from_clients(client, channel):
    entry(client, 0, SHARED, 3)
    channel.refused(errno.EPERM, TABLE, 0)
    assert not channel.objects
    assert client.read(TABLE, 0, 8) == number(SHARED, 3)
    client.write(TABLE, 8, b"by copy")
    assert client.read(TABLE, 8, 7) == b"by copy"


def test_shared_object_of_trusted_clients(request, _trusting):
    with _trusting.checked(request) as server:
        with server.negotiated(text=fc.CAPABILITIES) as client, Channel(client) as channel:
            entry(client, 0, SHARED, 3)
            entry(client, 1, 0, 3)
            with channel.open_map(channel.fault(TABLE, 0, RW)) as m:
                assert m[:8] == number(SHARED, 3)
                assert client.read(TABLE, 0, 8) == number(SHARED, 3)
            channel.fault(TABLE, PAGE)
            assert len(channel.objects) == 2


def test_shared_object_is_shared(two_devices):
    """Two devices show the same pages, by messages."""
    with two_devices.negotiated() as one, two_devices.negotiated(1) as other:
        entry(one, 0, SHARED, 7)
        entry(other, 9, SHARED, 7)
        one.write(TABLE, 16, b"hello")
        assert other.read(TABLE, 9 * PAGE + 16, 5) == b"hello"


# ------------------------------------------------------------------ endings


def test_channel_closed_ends_the_session(client, channel):
    channel.fault(WINDOW, 0)
    channel.close()
    client.expect_closed()


def test_session_closed_ends_the_channel(client, channel):
    channel.fault(WINDOW, 0)
    client.close()
    channel.expect_closed()


def test_half_closed(client, channel):
    channel.sock.shutdown(socket.SHUT_WR)
    client.expect_closed()


def test_both_ends_kept(server):
    """A client that keeps the server's end, too: the end comes all the same."""
    with server.negotiated(text=fc.CAPABILITIES) as client:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            client.call(fc.FAULT_CHANNEL, fc.channel_body(), [theirs.fileno()])
            client.close()
            assert ours.recv(64) == b""


def test_its_own_end_in_its_own_queue(server):
    """The channel's other end is sent into the channel, and forgotten."""
    with server.negotiated(text=fc.CAPABILITIES) as client:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("=i", ours.fileno()))]
            ours.sendmsg([packet(fc.FAULT, region=WINDOW, prot=READ)], rights)
            client.call(fc.FAULT_CHANNEL, fc.channel_body(), [theirs.fileno()])
        client.expect_closed()


def test_dead_on_arrival(client):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    with theirs:
        client.request(fc.FAULT_CHANNEL, fc.channel_body(), [theirs.fileno()])
    with contextlib.suppress(vu.Disconnected):
        client.recv()
        client.expect_closed()


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
def test_broken_packets_end_the_session(client, channel, lie):
    with contextlib.suppress(vu.Disconnected):
        channel.send(LIES[lie])
    channel.expect_closed()
    client.expect_closed()


def test_packet_with_an_fd(client, channel):
    fd = os.memfd_create("wire-test")
    channel.send(packet(fc.FAULT, **GOOD), [fd])
    os.close(fd)
    client.expect_closed()


@pytest.mark.parametrize("option", [16, 34, 76])  # SO_PASSCRED, SO_PASSSEC, SO_PASSPIDFD
def test_options_on_the_servers_end(server, option):
    """What they add to each packet is not taken, whatever becomes of the client."""
    with server.negotiated(text=fc.CAPABILITIES) as client:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            client.call(fc.FAULT_CHANNEL, fc.channel_body(), [theirs.fileno()])
            with contextlib.suppress(OSError):
                theirs.setsockopt(socket.SOL_SOCKET, option, 1)
            with contextlib.suppress(OSError):
                for tag in range(20):
                    ours.send(packet(fc.FAULT, tag=tag, region=WINDOW, prot=READ))


def test_duplicate_tag(client, channel):
    client.write32(vu.BAR0, DELAY, 100)
    with contextlib.suppress(vu.Disconnected):
        channel.send(packet(fc.FAULT, **GOOD))
        channel.send(packet(fc.FAULT, **GOOD))
        channel.send(packet(fc.FAULT, **GOOD))
    client.expect_closed()


def test_flood(client, channel):
    """More open faults than there may be."""
    client.write32(vu.BAR0, DELAY, 50)
    with contextlib.suppress(vu.Disconnected):
        for _ in range(3 * fc.MAX_OPEN):
            channel.post(WINDOW, 0)
    client.expect_closed()


def test_acknowledged_twice(client, channel):
    channel.fault(WINDOW, 0)
    msg_id = post_invalidate(client, 0, 0, WINDOW)
    got = channel.recv()
    channel.acknowledge(got)
    channel.acknowledge(got)
    with contextlib.suppress(vu.Disconnected):
        client.expect_reply(msg_id, vu.REGION_WRITE)
        client.expect_closed()


def test_gone_between_fault_and_answer(server):
    for _ in range(5):
        with server.negotiated(text=fc.CAPABILITIES) as client, Channel(client) as channel:
            client.write32(vu.BAR0, DELAY, 20)
            for _ in range(10):
                channel.post(WINDOW, 0)
            channel.close()
            client.expect_closed()


def test_gone_instead_of_an_acknowledgement(server):
    """Neither the callback that waits for it nor the device's thread is kept."""
    started = time.monotonic()
    for in_callback in (True, False):
        with server.negotiated(text=fc.CAPABILITIES) as client, Channel(client) as channel:
            channel.fault(WINDOW, 0)
            client.write32(vu.BAR0, REGION, WINDOW)
            if in_callback:
                post_invalidate(client, 0, 0, WINDOW)
            else:
                invalidate(client, channel, 0, 0, WINDOW)
                channel.fault(WINDOW, 0)
                client.write32(vu.BAR0, ROUNDS, 1)
            assert channel.recv().kind == fc.INVALIDATE
    with server.negotiated() as client:
        assert client.read(WINDOW, 0, 8) == number(1, 4)
    assert time.monotonic() - started < BOUND


@pytest.mark.parametrize("in_callback", [True, False])
def test_never_acknowledges(server, in_callback):
    """After the bound the client is cut off, and the next one served; in both cases the rest of
    the device goes on."""
    with server.negotiated(text=fc.CAPABILITIES) as client, Channel(client) as channel:
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
    with server.negotiated() as client:
        assert client.read(WINDOW, 0, 8) == number(1, 4)


def test_never_reads(client, channel):
    """Its answers fill the socket; then the bound is over."""
    started = time.monotonic()
    with contextlib.suppress(vu.Disconnected, TimeoutError):
        while time.monotonic() - started < 2 * BOUND:
            channel.post(WINDOW, 0)
            time.sleep(0.005)
    client.expect_closed()
    assert time.monotonic() - started < BOUND + 5


def test_other_devices_go_on(two_devices):
    """While one's callback waits for an acknowledgement that does not come."""
    with two_devices.negotiated(text=fc.CAPABILITIES) as bad, Channel(bad) as channel:
        channel.fault(WINDOW, 0)
        post_invalidate(bad, 0, 0, WINDOW)
        assert channel.recv().kind == fc.INVALIDATE
        with two_devices.negotiated(1, text=fc.CAPABILITIES) as good, Channel(good) as other:
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


def test_reset_takes_back(client, channel):
    entry(client, 0, 0, 0)
    channel.fault(TABLE, 0)
    msg_id = client.request(vu.DEVICE_RESET)
    channel.expect_invalidate(TABLE, 0, 256 * PAGE - 1)
    assert not client.expect_reply(msg_id, vu.DEVICE_RESET).errno
    channel.refused(errno.EFAULT, TABLE, 0)


# ------------------------------------------------------------------ what is counted


def show(path):
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        sock.sendall(b'{"command":"show"}\n')
        data = b""
        while not data.endswith(b"\n"):
            data += sock.recv(65536)
    return json.loads(data)["result"]["devices"][0]


def shown_text(path):
    umdev = BUILD_DIR / "src/cli/umdev"
    return subprocess.run([umdev, "show", "--control", path], check=True, capture_output=True,
                          text=True, timeout=vu.TIMEOUT).stdout


def check_counts(client, channel, path):
    assert show(path)["last_refusal"] is None
    assert "refused" not in shown_text(path)
    entry(client, 0, 0, 0)
    channel.fault(TABLE, 0)
    channel.refused(errno.EFAULT, TABLE, 9 * PAGE + 7)
    client.fails(errno.EFAULT, vu.REGION_WRITE, vu.region_body(TABLE, 0x30123, 1, b"x"))
    invalidate(client, channel, 0, 255)
    device = show(path)
    stats = device["stats"]
    assert (stats["faults"], stats["refused"], stats["revoked_pages"]) == (1, 2, 2)
    refusal = device["last_refusal"]
    assert 0 <= refusal.pop("age_ms") < 60000
    assert refusal == {"region": TABLE, "offset": 0x30000, "access": "write", "errno": "EFAULT"}


def test_counts(tmp_path):
    path = str(tmp_path / "control")
    server = Server("faultdev", "--control", path)
    try:
        with server.negotiated(text=fc.CAPABILITIES) as client, Channel(client) as channel:
            check_counts(client, channel, path)
        text = shown_text(path)
        assert re.search(r"^  faults +1 resolved, 2 pages taken back$", text, re.M)
        assert re.search(r"^  refused +2  last: BAR2\+0x30000 write, EFAULT, \d+ s ago$", text, re.M)
        assert "BAR2+0x30000: write refused: Bad address" in server.stderr()
        server.stop()
    finally:
        server.kill()
