# SPDX-License-Identifier: BSD-3-Clause
"""Errors that no command's own tests reach: commands that are not there, a driver's errnos, limits."""

import errno
import os
import resource
import struct
import time

import pytest
import vfiouser as vu
from vfiouser import PAGE

# capsdev's registers, in its region 10
REGS, REG_FAIL_RESET, REG_FAIL_OPEN = 10, 4, 8

NOT_THERE = {
    "DMA_READ": (vu.DMA_READ, struct.pack("=QQ", 0, 8)),
    "DMA_WRITE": (vu.DMA_WRITE, struct.pack("=QQ", 0, 8) + bytes(8)),
    "MIG_DATA_READ": (vu.MIG_DATA_READ, struct.pack("=II", 16, 4096)),
    "MIG_DATA_WRITE": (vu.MIG_DATA_WRITE, struct.pack("=II", 16, 8) + bytes(8)),
}


@pytest.mark.parametrize("name", NOT_THERE)
def test_commands_that_are_not_there(client, name):
    """Whatever their body is, and with an fd, too."""
    command, body = NOT_THERE[name]
    for part in (body, b"", body[:3], body + bytes(100)):
        client.fails(errno.ENOSYS, command, part)
    with vu.memory_file() as fd:
        client.fails(errno.ENOSYS, command, body, [fd])


@pytest.mark.parametrize("number", [errno.EIO, errno.ENODEV, errno.EBUSY])
def test_driver_fails_a_reset(caps_client, number):
    """Its errno is the reply's; the registers are reset all the same, and the next one works."""
    caps_client.write32(REGS, 20, 1)
    caps_client.write32(REGS, REG_FAIL_RESET, number)
    caps_client.fails(number, vu.DEVICE_RESET)
    assert caps_client.read32(REGS, 20) == 0
    caps_client.reset()


def refused_client(server):
    """The errno of the reply to a VERSION. The client before may take a moment to be gone."""
    for _ in range(1000):
        with server.client() as client:
            reply = client.try_call(vu.VERSION, vu.version_body())
            if reply.errno:
                client.expect_closed()
            if reply.errno != errno.EBUSY:
                return reply.errno
        time.sleep(0.005)
    raise AssertionError("the device stays busy")


@pytest.mark.parametrize("register", [REG_FAIL_RESET, REG_FAIL_OPEN])
def test_driver_refuses_a_client(caps_server, register):
    """VERSION gets its errno and the connection ends; the next client is served."""
    with caps_server.negotiated() as client:
        client.write32(REGS, register, errno.ENOSPC)
    assert refused_client(caps_server) == errno.ENOSPC
    with caps_server.negotiated() as client:
        client.check_in_step()


def test_more_file_than_one_process_maps(client):
    """A sparse file costs a client nothing; there are 8 TiB of address space for all of it."""
    with vu.memory_file(16 << 40) as fd:
        body = vu.dma_map_body(0, 9 << 40)
        client.fails(errno.ENOMEM, vu.DMA_MAP, body, [fd])
        client.dma_map(0, PAGE, fd)
        assert client.dma_unmap(0, PAGE) == PAGE


def only_one_more_fd(server):
    """The server's limit of fds, lowered so that one more can be opened. Returns the old limit."""
    used = {int(name) for name in os.listdir(f"/proc/{server.pid}/fd")}
    free = [fd for fd in range(max(used) + 3) if fd not in used]
    old = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (free[1], old[1]))
    return old


def test_no_memory_file_for_the_next_client(own_server):
    """A client gets files that none before it had; where there is no fd for one, it is told so."""
    with own_server.negotiated() as client:
        assert client.region_info(vu.BAR0).fds
        client.close()
        own_server.check()  # all of the client is gone
    old = only_one_more_fd(own_server)
    assert refused_client(own_server) == errno.EMFILE
    resource.prlimit(own_server.pid, resource.RLIMIT_NOFILE, old)
    with own_server.negotiated() as client:
        client.check_in_step()
    own_server.stop()
