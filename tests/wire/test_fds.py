# SPDX-License-Identifier: BSD-3-Clause
"""
File descriptors that clients send: too few, too many, the wrong kind, at the wrong time. The check
after each test counts the server's: none may be left.
"""

import contextlib
import errno
import fcntl
import os
import resource
import select
import socket
import tempfile

import pytest
import testdev as td
import vfiouser as vu
from vfiouser import PAGE

FD_TRIGGER = vu.DATA_EVENTFD | vu.ACTION_TRIGGER

# Commands whose requests carry no fds, with a right body.
WITHOUT_FDS = {
    vu.VERSION: vu.version_body(),
    vu.DMA_UNMAP: vu.dma_unmap_body(0, PAGE),
    vu.DEVICE_GET_INFO: vu.info_body(),
    vu.DEVICE_GET_REGION_INFO: vu.region_info_body(0),
    vu.DEVICE_GET_REGION_IO_FDS: vu.io_fds_body(0),
    vu.DEVICE_GET_IRQ_INFO: vu.irq_info_body(0),
    vu.REGION_READ: vu.region_body(vu.BAR2, 0, 4),
    vu.REGION_WRITE: vu.region_body(vu.BAR0, 0, 4, b"data"),
    vu.DEVICE_RESET: b"",
    vu.REGION_WRITE_MULTI: vu.write_multi_body([]),
    vu.DEVICE_FEATURE: bytes(8),
    vu.MIG_DATA_READ: bytes(8),
    vu.MIG_DATA_WRITE: bytes(8),
    0x4242: b"unknown",
}


@contextlib.contextmanager
def kinds_of_fds():
    """What is no file of memory, by name."""
    with contextlib.ExitStack() as stack:
        pipe = os.pipe()
        pair = socket.socketpair()
        directory = tempfile.mkdtemp()
        stack.callback(os.rmdir, directory)
        fds = {
            "pipe": pipe[0],
            "pipe's other end": pipe[1],
            "eventfd": os.eventfd(0),
            "socket": pair[0].detach(),
            "socket's other end": pair[1].detach(),
            "directory": os.open(directory, os.O_RDONLY),
            "/dev/null": os.open("/dev/null", os.O_RDWR),
            "/dev/zero": os.open("/dev/zero", os.O_RDWR),
            "/proc file": os.open("/proc/self/maps", os.O_RDONLY),
            "epoll": os.dup(stack.enter_context(select.epoll()).fileno()),
            "path only": os.open("/", os.O_PATH),
        }
        for fd in fds.values():
            stack.callback(os.close, fd)
        yield fds


@pytest.mark.parametrize("count", [1, 2, 16])
@pytest.mark.parametrize("command", sorted(WITHOUT_FDS))
def test_fds_where_none_belong(client, command, count):
    """Refused or ignored, closed in any case, and no message later gets them."""
    with vu.memory_file() as fd:
        reply = client.try_call(command, WITHOUT_FDS[command], [fd] * count)
        reply.close_fds()
        client.received_fds.clear()
        client.check_in_step()
        td.enable_bus_master(client)
        client.dma_map(0x10000, PAGE)
        assert td.dma(client, td.DMA_TO_BAR0, src=0x10000, length=4) == errno.EDEADLK


def test_fds_with_version(server):
    with vu.memory_file() as fd, server.client() as client:
        client.request(vu.VERSION, vu.version_body(), [fd, fd])
        with contextlib.suppress(vu.Disconnected):
            client.recv()


def test_fds_with_version_from_a_client_that_is_refused(server):
    with vu.memory_file() as fd, server.client() as client:
        client.request(vu.VERSION, vu.version_body(major=9), [fd] * 5)
        assert client.recv().errno == errno.EINVAL


def test_fds_with_half_a_version(server):
    with vu.memory_file() as fd, server.client() as client:
        client.send(vu.message(vu.VERSION, vu.version_body())[:30], [fd] * 5)
        client.wait_taken()


def test_fds_with_half_a_request(client):
    with vu.memory_file() as fd:
        client.send(vu.message(vu.DMA_MAP, vu.dma_map_body(0, PAGE))[:30], [fd])
        client.wait_taken()
        client.close()


def test_fds_of_requests_never_read(server):
    """Queued behind a slow request when the client dies."""
    with server.negotiated() as client, vu.memory_file() as fd:
        client.write32(vu.BAR1, td.REG_DELAY, 200)
        client.request(vu.REGION_READ, vu.region_body(vu.BAR2, 0, 4))
        for n in range(20):
            client.request(vu.DMA_MAP, vu.dma_map_body(n * PAGE, PAGE), [fd])


# ------------------------------------------------------------------ DMA_MAP


@pytest.mark.parametrize("count", [2, 3, 8, 16])
def test_map_with_surplus_fds(client, count):
    with vu.memory_file() as fd:
        client.fails(errno.EINVAL, vu.DMA_MAP, vu.dma_map_body(0, PAGE), [fd] * count)
    assert client.dma_unmap(0, PAGE) == 0


@pytest.mark.parametrize("count", [17, 33, 64, 65, 128, 253])
def test_map_with_more_fds_than_anybody_takes(client, count):
    """Refused or cut off."""
    with vu.memory_file() as fd:
        with contextlib.suppress(vu.Disconnected):
            reply = client.try_call(vu.DMA_MAP, vu.dma_map_body(0, PAGE), [fd] * count)
            assert reply.errno
            client.check_in_step()


def test_map_with_the_wrong_kind(client):
    with kinds_of_fds() as fds:
        for name, fd in fds.items():
            reply = client.try_call(vu.DMA_MAP, vu.dma_map_body(0, PAGE), [fd])
            assert reply.errno == errno.EINVAL, name
            assert client.dma_unmap(0, PAGE) == 0, name


def test_map_a_file_on_disk(client):
    """A regular file of a local file system will do."""
    with tempfile.TemporaryFile() as file:
        file.truncate(PAGE)
        reply = client.try_call(vu.DMA_MAP, vu.dma_map_body(0, PAGE), [file.fileno()])
        assert reply.errno in (0, errno.EINVAL)
        client.check_in_step()


@pytest.mark.parametrize(
    "access, flags, number",
    [
        (os.O_RDONLY, vu.READABLE, 0),
        (os.O_RDONLY, vu.READABLE | vu.WRITEABLE, errno.EINVAL),
        (os.O_RDONLY, vu.WRITEABLE, errno.EINVAL),
        (os.O_WRONLY, vu.READABLE, errno.EINVAL),
        (os.O_RDWR, vu.READABLE | vu.WRITEABLE, 0),
    ],
)
def test_map_what_the_fd_allows(dma_client, access, flags, number):
    with vu.memory_file(PAGE, b"data") as memory:
        fd = os.open(f"/proc/self/fd/{memory}", access)
        try:
            reply = dma_client.try_call(vu.DMA_MAP, vu.dma_map_body(0, PAGE, flags), [fd])
        finally:
            os.close(fd)
        assert reply.errno == number
        if not number:
            assert td.dma_read(dma_client, 0, 4) == b"data"


def test_map_sealed_memory(dma_client):
    fd = os.memfd_create("wire-test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, PAGE)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
        dma_client.dma_map(0, PAGE, fd)
        assert td.dma_read(dma_client, 0, 8) == bytes(8)
    finally:
        os.close(fd)


def test_map_memory_sealed_against_writing(client):
    fd = os.memfd_create("wire-test", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, PAGE)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        reply = client.try_call(vu.DMA_MAP, vu.dma_map_body(0, PAGE), [fd])
        assert reply.errno
        client.check_in_step()
    finally:
        os.close(fd)


def test_refused_maps_close_their_fds(client):
    """A thousand of them would be seen even without the check that follows."""
    with vu.memory_file() as fd:
        for _ in range(1000):
            client.request(vu.DMA_MAP, vu.dma_map_body(0, PAGE, 0), [fd], vu.NO_REPLY)
    client.check_in_step()


def test_the_servers_own_file_mapped_back(dma_client):
    """The device's BAR as DMA memory: QEMU maps mmap-ed BARs, some clients with their fd."""
    info = dma_client.region_info(vu.BAR0)
    reply = dma_client.try_call(
        vu.DMA_MAP, vu.dma_map_body(0, 0x10000, offset=info.offset), [info.fds[0]]
    )
    assert reply.errno in (0, errno.EINVAL)
    if not reply.errno:
        dma_client.write(vu.BAR0, 0, b"from one end")
        assert td.dma(dma_client, td.DMA_COPY, src=0, dst=0x8000, length=12) == 0
        assert dma_client.read(vu.BAR0, 0x8000, 12) == b"from one end"


def test_the_clients_own_socket(client):
    """A cycle of references that only the kernel's collector can find."""
    for command, body in (
        (vu.DMA_MAP, vu.dma_map_body(0, PAGE)),
        (vu.DEVICE_SET_IRQS, vu.set_irqs_body(FD_TRIGGER, vu.MSIX, 0, 1)),
    ):
        client.fails(errno.EINVAL, command, body, [client.sock.fileno()])


# ------------------------------------------------------------------ none left


@contextlib.contextmanager
def no_more_fds(server):
    """The server's process may open nothing more."""
    before = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in os.listdir(f"/proc/{server.pid}/fd"))
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (highest + 1, before[1]))
    try:
        yield
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_NOFILE, before)


def test_server_out_of_fds(server):
    """A client's fd that cannot be taken in: refused or cut off, and never another one in its
    place. Afterwards all is well."""
    with server.negotiated() as client, vu.memory_file() as memory:
        with no_more_fds(server), contextlib.suppress(vu.Disconnected):
            body = vu.dma_map_body(0, PAGE)
            assert client.try_call(vu.DMA_MAP, body, [memory] * 2).errno
            for n in range(1, 20):
                client.try_call(vu.DMA_MAP, vu.dma_map_body(n * PAGE, PAGE), [memory])
    with server.negotiated() as client, vu.memory_file() as memory:
        client.dma_map(0, PAGE, memory)


def test_connection_while_the_server_is_out_of_fds(server):
    """Turned away at once, not left waiting, and the client that is there is served on."""
    with server.negotiated() as client:
        with no_more_fds(server):
            # Holes below the highest fd may take a few in.
            others = [server.client() for _ in range(20)]
            with others[-1] as last:
                last.expect_closed()
            client.check_in_step()
            for other in others:
                other.close()
        client.check_in_step()


# ------------------------------------------------------------------ SET_IRQS


def test_interrupt_with_the_wrong_kind(client):
    body = vu.set_irqs_body(FD_TRIGGER, vu.MSIX, 0, 1)
    with kinds_of_fds() as fds, vu.memory_file() as memory:
        fds = {name: fd for name, fd in fds.items() if name != "eventfd"}
        for name, fd in {**fds, "memfd": memory}.items():
            reply = client.try_call(vu.DEVICE_SET_IRQS, body, [fd])
            assert reply.errno == errno.EINVAL, name
    client.check_in_step()


@pytest.mark.parametrize("index", [vu.INTX, vu.MSI, vu.MSIX, vu.ERR, vu.REQ])
@pytest.mark.parametrize("count", [2, 9, 16])
def test_interrupt_with_surplus_fds(client, index, count):
    with vu.eventfds(count) as fds:
        body = vu.set_irqs_body(FD_TRIGGER, index, 0, 1)
        client.fails(errno.EINVAL, vu.DEVICE_SET_IRQS, body, fds)


@pytest.mark.parametrize("count", [17, 64, 253])
def test_interrupt_with_more_fds_than_anybody_takes(client, count):
    with vu.eventfds(1) as (fd,), contextlib.suppress(vu.Disconnected):
        body = vu.set_irqs_body(FD_TRIGGER, vu.MSIX, 0, count)
        assert client.try_call(vu.DEVICE_SET_IRQS, body, [fd] * count).errno
        client.check_in_step()


def test_one_eventfd_for_all_vectors(client):
    with vu.eventfds(1) as (fd,):
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, td.NUM_MSIX, fds=[fd] * td.NUM_MSIX)
        for vector in range(td.NUM_MSIX):
            td.trigger(client, vu.MSIX, vector)
        assert vu.signalled(fd) == td.NUM_MSIX


def test_eventfds_replaced_many_times(client):
    for _ in range(200):
        with vu.eventfds(td.NUM_MSIX) as fds:
            client.set_irqs(FD_TRIGGER, vu.MSIX, 0, td.NUM_MSIX, fds=fds)


def test_two_messages_and_two_fds_in_one_send(client):
    """Whose they are is anybody's guess; nothing leaks, and the stream stays in step."""
    with vu.memory_file() as a, vu.memory_file() as b:
        client.send(
            vu.message(vu.DMA_MAP, vu.dma_map_body(0, PAGE), 1)
            + vu.message(vu.DMA_MAP, vu.dma_map_body(PAGE, PAGE), 2),
            [a, b],
        )
        assert [client.recv().id for _ in range(2)] == [1, 2]
        client.check_in_step()
