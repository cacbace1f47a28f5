# SPDX-License-Identifier: BSD-3-Clause
"""Write tracking, umdev's own (docs/protocol.md)."""

import contextlib
import errno
import os
import struct

import pytest
import trackclient as tc
import vfiouser as vu
from trackclient import BASE, DMA_MAP_AT, LOST, OFFER, TRACK, TRACK_INFO, WRITTEN, Trackdev
from vfiouser import PAGE

# How a device learns of writes: a userfaultfd of the one kind or the other, or by itself.
METHODS = ["async", "sync", "compare"]


@pytest.fixture(scope="module")
def collect_server():
    with tc.served() as server:
        yield server


@pytest.fixture(scope="module")
def notify_server():
    with tc.served("notify") as server:
        yield server


@pytest.fixture
def client(collect_server):
    with collect_server.negotiated(text=OFFER) as client:
        yield client


@contextlib.contextmanager
def tracked(client, method):
    """A device and memory of which it can learn in a way; map(), as the way needs it."""
    device = Trackdev(client)
    with contextlib.ExitStack() as stack:
        memory = stack.enter_context(tc.memory())
        if method != "compare":
            uffd = stack.enter_context(tc.userfaultfd(method == "sync"))
            memory.register(uffd)
            device.give(uffd, stack.enter_context(tc.pagemap()), method == "sync")
        yield device, memory
        client.close()


@pytest.fixture(params=METHODS)
def device(request, client):
    with tracked(client, request.param) as (device, memory):
        device.memory = memory
        device.at = request.param != "compare"
        yield device


def test_negotiation(collect_server):
    with collect_server.negotiated() as client:
        client.fails(errno.ENOSYS, TRACK_INFO, tc.track_body())
        client.fails(errno.ENOSYS, TRACK, tc.track_body())
        client.fails(errno.ENOSYS, DMA_MAP_AT, tc.map_at_body(BASE, PAGE, PAGE))
    for offered in ["1", "7"]:
        text = OFFER.replace('"track":1', f'"track":{offered}')
        with collect_server.negotiated(text=text) as client:
            client.check_in_step()
    with collect_server.client() as client:
        assert client.negotiate(text=OFFER)[2]["umdev"] == {"track": 1}


@pytest.mark.parametrize("value", ["0", '"1"', "true", "-1", "[]"])
def test_a_malformed_offer(collect_server, value):
    with collect_server.client() as client:
        text = OFFER.replace('"track":1', f'"track":{value}')
        reply = client.try_call(vu.VERSION, vu.version_body(text=text))
        assert reply.errno == errno.EINVAL
        client.expect_closed()


def test_info_says_what_is_wanted(client, notify_server):
    assert client.call(TRACK_INFO, tc.track_body()).body == tc.track_body(0)
    with notify_server.negotiated(text=OFFER) as client:
        assert client.call(TRACK_INFO, tc.track_body(argsz=100)).body == tc.track_body(1)


def test_info_that_makes_no_sense(client):
    client.fails(errno.EINVAL, TRACK_INFO, tc.track_body(argsz=7))
    client.fails(errno.EINVAL, TRACK_INFO, tc.track_body(flags=1))
    client.fails(errno.EINVAL, TRACK_INFO, tc.track_body()[:-1])
    client.fails(errno.EINVAL, TRACK_INFO, tc.track_body() + b"\0")
    client.fails(errno.EINVAL, TRACK_INFO, tc.track_body(), [0])


def test_track_that_makes_no_sense(client):
    with tc.userfaultfd() as uffd, tc.pagemap() as pagemap, vu.memory_file() as file:
        good = [uffd, pagemap]
        for body in [tc.track_body(argsz=7), tc.track_body(2), b"", tc.track_body() + b"\0"]:
            client.fails(errno.EINVAL, TRACK, body, good)
        for fds in [[], [uffd], [pagemap, uffd], [uffd, pagemap, file], [uffd, file], [file, pagemap]]:
            client.fails(errno.EINVAL, TRACK, tc.track_body(), fds)
        with open("/proc/self/maps") as maps:
            client.fails(errno.EINVAL, TRACK, tc.track_body(), [uffd, maps.fileno()])
        assert client.call(TRACK, tc.track_body(), good).body == b""
        client.fails(errno.EEXIST, TRACK, tc.track_body(), good)
        client.close()


def test_map_at_that_makes_no_sense(client):
    with tc.userfaultfd() as uffd, tc.pagemap() as pagemap, tc.memory() as memory:
        fds, hva = [memory.fd], memory.hva
        client.fails(errno.EINVAL, DMA_MAP_AT, tc.map_at_body(BASE, PAGE, hva), fds)
        client.call(TRACK, tc.track_body(), [uffd, pagemap])
        for body in [
            tc.map_at_body(BASE, PAGE, hva, argsz=39),
            tc.map_at_body(BASE, PAGE, hva)[:-1],
            tc.map_at_body(BASE, PAGE, hva) + b"\0",
            tc.map_at_body(BASE, PAGE, hva, flags=0),
            tc.map_at_body(BASE, PAGE, hva, flags=4),
            tc.map_at_body(BASE, PAGE, hva + 1),
            tc.map_at_body(BASE, PAGE, 1 << 63),
            tc.map_at_body(BASE, 2 * PAGE, (1 << 63) - PAGE),
            tc.map_at_body(BASE, PAGE, 2**64 - 1),
            tc.map_at_body(BASE, 0, hva),
            tc.map_at_body(BASE + 1, PAGE, hva),
            tc.map_at_body(BASE, PAGE, hva, offset=1),
            tc.map_at_body(BASE, 17 * PAGE, hva),
        ]:
            client.fails(errno.EINVAL, DMA_MAP_AT, body, fds)
        client.fails(errno.EINVAL, DMA_MAP_AT, tc.map_at_body(BASE, PAGE, hva), fds * 2)
        client.call(DMA_MAP_AT, tc.map_at_body(BASE, PAGE, hva), fds)
        client.fails(errno.EEXIST, DMA_MAP_AT, tc.map_at_body(BASE, PAGE, hva), fds)
        client.close()


def test_written_by_the_client(device):
    device.map(device.memory, 0, 8, at=device.at)
    assert device.add(BASE + PAGE, 6) == 0
    assert device.collect() == []
    device.memory.write(0, 1)
    device.memory.write(2, 2)
    device.memory.write(3, 3)
    device.memory.write(6, 4)
    assert device.collect() == [(BASE + 2 * PAGE, 2, WRITTEN), (BASE + 6 * PAGE, 1, WRITTEN)]
    assert device.collect() == []
    device.memory.write(2, 5)
    assert device.collect() == [(BASE + 2 * PAGE, 1, WRITTEN)]
    assert device.memory.read(2) == 5


def test_written_by_the_clients_kernel(device):
    """By a read into the memory, as a VMM's disk does it."""
    device.map(device.memory, at=device.at)
    assert device.add() == 0
    with vu.memory_file(content=b"from a file") as file:
        assert os.preadv(file, [memory_view(device.memory)], 0) > 0
    assert device.collect() == [(BASE, 1, WRITTEN)]


def memory_view(memory):
    import ctypes

    return (ctypes.c_char * 11).from_address(memory.hva)


def test_written_by_the_device(device):
    device.map(device.memory, 0, 2, at=device.at)
    assert device.add(BASE, 2) == 0
    device.write(BASE + PAGE, 77)
    assert device.memory.read(1) == 77
    assert device.collect() == [(BASE + PAGE, 1, WRITTEN)]
    assert device.collect() == []


def test_each_name_of_a_page(device):
    device.map(device.memory, 3, iova=BASE, at=device.at)
    device.map(device.memory, 3, iova=BASE + 8 * PAGE, at=device.at)
    assert device.add(BASE) == 0
    device.memory.write(3, 1)
    both = [(BASE, 1, WRITTEN), (BASE + 8 * PAGE, 1, WRITTEN)]
    assert device.collect() == both
    assert device.add(BASE + 8 * PAGE) == 0
    assert device.remove(BASE) == 0
    device.memory.write(3, 2)
    assert device.collect() == both
    assert device.remove(BASE) == 0
    assert device.remove(BASE) == errno.ENOENT
    device.memory.write(3, 3)
    assert device.collect() == []


def test_the_iova_moves(device):
    """As in a guest with a vIOMMU: what is written while the page has no IOVA counts, too."""
    device.map(device.memory, 3, 2, at=device.at)
    assert device.add(BASE, 2) == 0
    device.client.dma_unmap(BASE, 2 * PAGE)
    device.memory.write(4, 1)
    device.map(device.memory, 3, 2, iova=BASE + 8 * PAGE, at=device.at)
    assert device.collect() == [(BASE + 9 * PAGE, 1, WRITTEN)]
    device.client.dma_unmap(BASE + 8 * PAGE, 2 * PAGE)
    device.map(device.memory, 4, iova=BASE, at=device.at)
    assert device.collect() == [(BASE + 8 * PAGE, 1, LOST)]
    device.memory.write(3, 2)
    device.memory.write(4, 2)
    assert device.collect() == [(BASE, 1, WRITTEN)]


def test_memory_that_is_gone_is_lost_once(device):
    device.map(device.memory, 0, 4, at=device.at)
    assert device.add(BASE, 4) == 0
    device.memory.write(1, 1)
    device.client.dma_unmap(BASE, 4 * PAGE)
    assert device.collect() == [(BASE, 4, LOST)]
    assert device.collect() == []
    device.map(device.memory, 0, 4, at=device.at)
    device.memory.write(1, 2)
    assert device.collect() == []
    assert device.remove() == errno.ENOENT


def test_what_is_refused(device):
    device.map(device.memory, 0, 2, at=device.at)
    assert device.add(BASE, 0) == errno.EINVAL
    assert device.go(tc.GO_ADD, BASE + 1, PAGE) == errno.EINVAL
    assert device.go(tc.GO_ADD, BASE, 100) == errno.EINVAL
    assert device.add(2**64 - PAGE, 2) == errno.EINVAL
    assert device.add(BASE + PAGE, 2) == errno.EFAULT
    assert device.remove() == errno.ENOENT
    assert device.collect() == []


def test_memory_without_a_file(client):
    """With a place in the client's memory it is tracked, without one it can't be."""
    with tracked(client, "async") as (device, memory):
        client.dma_map(BASE, PAGE)
        assert device.add() == errno.EOPNOTSUPP
        body = tc.map_at_body(BASE + PAGE, PAGE, memory.hva)
        assert client.call(DMA_MAP_AT, body).body == b""
        assert device.add(BASE + PAGE) == 0
        memory.write(0, 1)
        assert device.collect() == [(BASE + PAGE, 1, WRITTEN)]


def test_other_memory_in_its_place(client):
    """At the address of a page that was tracked there is another file: that page is lost."""
    with tracked(client, "async") as (device, memory):
        device.map(memory)
        assert device.add() == 0
        client.dma_unmap(BASE, PAGE)
        with vu.memory_file() as other:
            client.call(DMA_MAP_AT, tc.map_at_body(BASE + PAGE, PAGE, memory.hva), [other])
            client.fails(errno.EINVAL, DMA_MAP_AT, tc.map_at_body(BASE, PAGE, memory.hva), [memory.fd])
        assert device.collect() == [(BASE, 1, LOST)]
        memory.write(0, 1)
        assert device.collect() == []


def test_told_before_it_is_written(notify_server):
    with notify_server.negotiated(text=OFFER) as client, tracked(client, "sync") as (device, memory):
        memory.write(1, 11)
        device.map(memory, 0, 2)
        assert device.add(BASE, 2) == 0
        memory.write(1, 22)
        assert device.told == 1
        assert client.read64(vu.BAR0, tc.REG_TOLD_IOVA) == BASE + PAGE
        assert client.read64(vu.BAR0, tc.REG_TOLD_VALUE) == 11
        memory.write(1, 33)
        assert device.told == 1
        assert device.collect() == [(BASE + PAGE, 1, WRITTEN)]
        memory.write(1, 44)
        assert device.told == 2
        assert client.read64(vu.BAR0, tc.REG_TOLD_VALUE) == 33


@pytest.mark.parametrize("method", ["async", "compare"])
def test_told_by_nobody(notify_server, method):
    with notify_server.negotiated(text=OFFER) as client, tracked(client, method) as (device, memory):
        device.map(memory, at=method != "compare")
        assert device.add() == errno.EOPNOTSUPP


def test_after_the_session_nothing_waits(notify_server):
    with tc.userfaultfd(True) as uffd, tc.pagemap() as pagemap, tc.memory() as memory:
        memory.register(uffd)
        for _ in range(2):
            with notify_server.negotiated(text=OFFER) as client:
                device = Trackdev(client)
                device.give(uffd, pagemap, True)
                device.map(memory, 0, 16)
                assert device.add(BASE, 16) == 0
            with notify_server.negotiated() as client:
                client.check_in_step()
            for page in range(16):
                memory.write(page, page)


def test_two_devices_of_one_client():
    """What one learns from the kernel the other is told; and each writes the other's pages."""
    with tc.served(devices=2) as server, contextlib.ExitStack() as stack:
        uffd, pagemap = stack.enter_context(tc.userfaultfd()), stack.enter_context(tc.pagemap())
        memory = stack.enter_context(tc.memory())
        memory.register(uffd)
        devices = []
        for number in range(2):
            client = stack.enter_context(server.negotiated(number, text=OFFER))
            devices.append(Trackdev(client))
            devices[number].give(uffd, pagemap)
            devices[number].map(memory, 0, 4, iova=BASE * (number + 1))
            assert devices[number].add(BASE * (number + 1), 4) == 0
        memory.write(1, 1)
        devices[0].write(BASE + 2 * PAGE, 5)
        for number in range(2):
            assert devices[number].collect() == [(BASE * (number + 1) + PAGE, 2, WRITTEN)]
        assert [device.collect() for device in devices] == [[], []]


def test_two_clients_of_one_file():
    """A device's writes are seen by all who track the file, whoever their client is."""
    with tc.served(devices=2) as server, tc.memory() as memory:
        with server.negotiated(0) as one, server.negotiated(1) as two:
            writer, tracker = Trackdev(one), Trackdev(two)
            writer.map(memory, 2, 2, at=False)
            tracker.map(memory, 0, 4, iova=8 * BASE, at=False)
            assert tracker.add(8 * BASE, 4) == 0
            writer.write(BASE + PAGE, 9)
            assert tracker.collect() == [(8 * BASE + 3 * PAGE, 1, WRITTEN)]


def test_layouts():
    assert len(tc.map_at_body(0, 0, 0)) == 40
    assert struct.calcsize("=II") == 8
