# SPDX-License-Identifier: BSD-3-Clause
"""Regions that fault: docs/protocol.md. The device is tests/drivers/umdev-faultdev.c."""

import errno
import mmap
import os
import re
import socket
import struct
import subprocess
import time

import faultclient as fc
import pytest
import vfiouser as vu
from control import Control
from faultclient import READ, RW, WRITE, Channel, packet
from faultdev import (
    DISCARD,
    EXTEND,
    INVALIDATES,
    READONLY,
    RESULT,
    SHARED,
    SIZES,
    SMALL,
    TABLE,
    WINDOW,
    WRONG,
    WRONGS,
    entry,
    invalidate,
    number,
)
from server import BUILD_DIR, served_by
from vfiouser import PAGE

# ------------------------------------------------------------------ VERSION, GET_REGION_INFO


def version_text(umdev):
    return '{"capabilities":{"max_msg_fds":16,"umdev":%s}}' % umdev


@pytest.mark.parametrize("offered", ['{"fault":1}', '{"fault":2}', '{"fault":1,"later":[1,2]}'])
def test_version_names_it_back(fault_server, offered):
    with fault_server.client() as client:
        assert client.negotiate(text=version_text(offered))[2]["umdev"] == {"fault": 1}


@pytest.mark.parametrize("text", [vu.QEMU_CAPABILITIES, None, "{}", version_text("{}")])
def test_version_without_it(fault_server, text):
    with fault_server.client() as client:
        assert "umdev" not in client.negotiate(text=text)[2]
        assert fc.CAP_FAULT not in client.region_info(TABLE).caps
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            client.fails(errno.ENOSYS, fc.FAULT_CHANNEL, fc.channel_body(), [theirs.fileno()])


@pytest.mark.parametrize("umdev", ["1", "[]", '{"fault":0}', '{"fault":"1"}', '{"fault":true}'])
def test_version_malformed(fault_server, umdev):
    with fault_server.client() as client:
        reply = client.try_call(vu.VERSION, vu.version_body(text=version_text(umdev)))
        assert reply.errno == errno.EINVAL
        client.expect_closed()


def test_version_without_room_for_the_reply(fault_server):
    """A reply that names nothing has not negotiated anything."""
    with fault_server.client() as client:
        text = '{"capabilities":{"max_dma_maps":1,"umdev":{"fault":1}}}'
        assert client.negotiate(text=text)[2] == {}
        assert fc.CAP_FAULT not in client.region_info(TABLE).caps


@pytest.mark.parametrize("index", SIZES)
def test_region_info(fault_client, index):
    info = fault_client.region_info(index)
    assert info.size == SIZES[index] and not info.fds
    writable = 0 if index == READONLY else vu.REGION_FLAG_WRITE
    assert info.flags == vu.REGION_FLAG_READ | writable | vu.REGION_FLAG_CAPS
    assert info.caps[fc.CAP_FAULT] == (1, bytes(8))


def test_region_info_of_others(fault_client):
    assert fc.CAP_FAULT not in fault_client.region_info(vu.BAR0).caps


@pytest.mark.parametrize("index", SIZES)
def test_region_info_of_an_old_client(old_client, index):
    info = old_client.region_info(index)
    assert info.size == SIZES[index] and not info.fds and fc.CAP_FAULT not in info.caps
    assert not info.flags & vu.REGION_FLAG_MMAP


# ------------------------------------------------------------------ FAULT_CHANNEL


def test_channel_request_malformed(fault_client):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        fd = theirs.fileno()
        for body in (b"", b"\x08\0\0\0", fc.channel_body(7), fc.channel_body(8, 1),
                     fc.channel_body() + b"\0"):
            fault_client.fails(errno.EINVAL, fc.FAULT_CHANNEL, body, [fd])
        fault_client.fails(errno.EINVAL, fc.FAULT_CHANNEL, fc.channel_body())
        fault_client.fails(errno.EINVAL, fc.FAULT_CHANNEL, fc.channel_body(), [fd, fd])


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


def test_channel_wrong_fds(fault_client):
    pipe = os.pipe()
    memfd = os.memfd_create("wire-test")
    for fd in (*pipe, memfd):
        fault_client.fails(errno.EINVAL, fc.FAULT_CHANNEL, fc.channel_body(), [fd])
        os.close(fd)
    for sockets in wrong_sockets().values():
        fault_client.fails(errno.EINVAL, fc.FAULT_CHANNEL, fc.channel_body(), [sockets[0].fileno()])
        for sock in sockets:
            sock.close()
    fault_client.fails(errno.EINVAL, fc.FAULT_CHANNEL, fc.channel_body(), [fault_client.sock.fileno()])


def test_second_channel(fault_client, channel):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        fault_client.fails(errno.EEXIST, fc.FAULT_CHANNEL, fc.channel_body(), [theirs.fileno()])
    assert not channel.fault(WINDOW, 0).error


# ------------------------------------------------------------------ faults


@pytest.mark.parametrize("offset", [0, 1, PAGE - 1, PAGE, 16 * PAGE - 1])
def test_window_is_one_to_one(fault_client, channel, offset):
    """The driver leaves the 1:1 rule alone: the whole window, from page 4 of its object on."""
    got = channel.fault(WINDOW, offset, RW)
    assert (got.first, got.last, got.offset, got.prot) == (0, 16 * PAGE - 1, 4 * PAGE, RW)
    with channel.open_map(got) as m:
        assert [m[i * PAGE : i * PAGE + 8] for i in range(16)] == [number(1, i + 4) for i in range(16)]


def test_to_the_last_page(fault_client, channel):
    """Answers that end with the region, and with the object."""
    entry(fault_client, 255, 0, 63)
    got = channel.fault(TABLE, 256 * PAGE - 1)
    assert (got.first, got.last, got.offset) == (255 * PAGE, 256 * PAGE - 1, 63 * PAGE)
    got = channel.fault(SMALL, 5 * PAGE - 1)
    assert (got.first, got.last, got.offset) == (0, 5 * PAGE - 1, 0)


def test_table_chooses(fault_client, channel):
    """Any page of any object, in any order; each object's fd comes once."""
    places = [(0, 0, 5), (1, 1, 5), (7, 2, 63), (200, 0, 0), (3, 2, 62)]
    for page, obj, obj_page in places:
        entry(fault_client, page, obj, obj_page)
    for page, obj, obj_page in places:
        got = channel.fault(TABLE, page * PAGE + 123, WRITE)
        assert (got.first, got.offset) == (page * PAGE, obj_page * PAGE)
        with channel.open_map(got) as m:
            assert m[:8] == number(obj, obj_page)
            m[100:104] = struct.pack("=I", page)
        assert fault_client.read32(TABLE, page * PAGE + 100) == page
    assert len(channel.objects) == 3


def test_messages_and_mappings_are_the_same_memory(fault_client, channel):
    entry(fault_client, 9, 1, 30)
    with channel.open_map(channel.fault(TABLE, 9 * PAGE, RW)) as m:
        fault_client.write(TABLE, 9 * PAGE + 50, b"by message")
        assert m[50:60] == b"by message"


def test_extended_both_ways(fault_client, channel):
    fault_client.write32(vu.BAR0, EXTEND, 1)
    for page in range(10, 20):
        entry(fault_client, page, 2, page + 20)
    entry(fault_client, 20, 2, 50)
    got = channel.fault(TABLE, 15 * PAGE + 9)
    assert (got.first, got.last, got.offset) == (10 * PAGE, 20 * PAGE - 1, 30 * PAGE)


def test_refusal(fault_client, channel):
    channel.refused(errno.EFAULT, TABLE, 77 * PAGE + 5)
    entry(fault_client, 77, 0, 0)
    assert not channel.fault(TABLE, 77 * PAGE).error


def test_read_only_page(fault_client, channel):
    """Read, it is mapped for reading; a write asks again."""
    entry(fault_client, 4, 0, 4, writable=False)
    assert channel.fault(TABLE, 4 * PAGE, READ).prot == READ
    channel.refused(errno.EACCES, TABLE, 4 * PAGE, WRITE)
    channel.refused(errno.EACCES, TABLE, 4 * PAGE, RW)
    entry(fault_client, 4, 0, 4)
    assert channel.fault(TABLE, 4 * PAGE, WRITE).prot == RW


def test_read_only_region(fault_client, channel):
    got = channel.fault(READONLY, 3 * PAGE)
    assert (got.first, got.last, got.prot) == (0, 4 * PAGE - 1, READ)
    channel.refused(errno.EPERM, READONLY, 0, WRITE)
    with pytest.raises(PermissionError):
        mmap.mmap(channel.objects[got.object], PAGE)
    fault_client.fails(errno.EPERM, vu.REGION_WRITE, vu.region_body(READONLY, 0, 1, b"x"))


@pytest.mark.parametrize("region, offset, access", [
    (TABLE, 256 * PAGE, READ), (TABLE, (1 << 64) - 1, READ), (SMALL, 5 * PAGE, READ),
    (vu.BAR0, 0, READ), (vu.BAR1, 0, READ), (vu.CONFIG, 0, READ), (vu.ROM, 0, READ), (11, 0, READ),
    (0xFFFFFFFF, 0, READ), (TABLE, 0, 0), (TABLE, 0, 4), (TABLE, 0, 0xFFFFFFFF),
])
def test_nonsense_is_refused(channel, region, offset, access):
    tag = channel.post(region, offset, access)
    got = channel.expect_map(tag, region)
    assert got.error == errno.EINVAL and got.first <= offset <= got.last
    assert not channel.fault(WINDOW, 0).error


@pytest.mark.parametrize("wrong", WRONGS)
def test_driver_that_answers_nonsense(fault_client, channel, wrong):
    """EIO, on both paths."""
    entry(fault_client, 0, 0, 0)
    fault_client.write32(vu.BAR0, WRONG, WRONGS[wrong])
    channel.refused(errno.EIO, TABLE, 0)
    fault_client.fails(errno.EIO, vu.REGION_READ, vu.region_body(TABLE, 0, 4))


def test_driver_that_invalidates_where_it_must_not(fault_client, channel):
    entry(fault_client, 0, 0, 0)
    fault_client.write32(vu.BAR0, WRONG, INVALIDATES)
    channel.refused(errno.EDEADLK, TABLE, 0)


def test_many_at_once(fault_client, channel):
    """64 open faults are answered in order."""
    for page in range(fc.MAX_OPEN):
        entry(fault_client, page, page % 3, page)
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


# ------------------------------------------------------------------ memory


def test_discard(fault_client, channel):
    """Zeros for everyone, at once."""
    entry(fault_client, 0, 0, 9)
    with channel.open_map(channel.fault(TABLE, 0)) as m:
        assert m[:8] == number(0, 9)
        fault_client.write32(vu.BAR0, DISCARD, 9 << 16)
        assert fault_client.read32(vu.BAR0, RESULT) == 0
        assert m[:8] == bytes(8) and fault_client.read(TABLE, 0, 8) == bytes(8)
    entry(fault_client, 1, 0, 10)
    assert fault_client.read(TABLE, PAGE, 8) == number(0, 10)
    fault_client.write32(vu.BAR0, DISCARD, 64 << 16)
    assert fault_client.read32(vu.BAR0, RESULT) == errno.EINVAL


def test_object_can_not_be_resized(channel):
    got = channel.fault(WINDOW, 0)
    for size in (0, PAGE, 1 << 30):
        with pytest.raises(PermissionError):
            os.ftruncate(channel.objects[got.object], size)


def test_next_client_has_other_files(fault_server):
    """What the first one kept shows it nothing of the second."""
    with fault_server.negotiated(text=fc.CAPABILITIES) as first, Channel(first) as channel:
        with channel.open_map(channel.fault(WINDOW, 0, RW)) as kept:
            kept[64:70] = b"before"
            first.close()
            with fault_server.negotiated(text=fc.CAPABILITIES) as second, Channel(second) as other:
                with other.open_map(other.fault(WINDOW, 0, RW)) as m:
                    assert m[64:70] == b"before"
                    m[64:70] = b"behind"
                    assert kept[64:70] == b"before"


def test_shared_object_is_kept_from_clients(fault_client, channel):
    entry(fault_client, 0, SHARED, 3)
    channel.refused(errno.EPERM, TABLE, 0)
    assert not channel.objects
    assert fault_client.read(TABLE, 0, 8) == number(SHARED, 3)
    fault_client.write(TABLE, 8, b"by copy")
    assert fault_client.read(TABLE, 8, 7) == b"by copy"


def test_shared_object_of_trusted_clients():
    with served_by("faultdev", "--trust-client") as server:
        with server.negotiated(text=fc.CAPABILITIES) as client, Channel(client) as channel:
            entry(client, 0, SHARED, 3)
            entry(client, 1, 0, 3)
            with channel.open_map(channel.fault(TABLE, 0, RW)) as m:
                assert m[:8] == number(SHARED, 3)
                assert client.read(TABLE, 0, 8) == number(SHARED, 3)
            channel.fault(TABLE, PAGE)
            assert len(channel.objects) == 2


def test_shared_object_is_shared(two_faultdevs):
    """Two devices show the same pages, by messages."""
    with two_faultdevs.negotiated() as one, two_faultdevs.negotiated(1) as other:
        entry(one, 0, SHARED, 7)
        entry(other, 9, SHARED, 7)
        one.write(TABLE, 16, b"hello")
        assert other.read(TABLE, 9 * PAGE + 16, 5) == b"hello"


# ------------------------------------------------------------------ what is counted


def show(path):
    with Control(path) as control:
        return control.ask("show")["result"]["devices"][0]


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
    with served_by("faultdev", "--control", path) as server:
        with server.negotiated(text=fc.CAPABILITIES) as client, Channel(client) as channel:
            check_counts(client, channel, path)
        text = shown_text(path)
        assert re.search(r"^  faults +1 resolved, 2 pages taken back$", text, re.M)
        assert re.search(r"^  refused +2  last: BAR2\+0x30000 write, EFAULT, \d+ s ago$", text, re.M)
        assert "BAR2+0x30000: write refused: Bad address" in server.stderr()
