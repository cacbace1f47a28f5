# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_RESET, and what a device keeps between clients."""

import errno
import struct

import pytest
import testdev as td
import vfiouser as vu


def test_registers_go_back(client):
    client.write32(vu.BAR1, td.REG_SCRATCH, 0xDEADBEEF)
    client.write(vu.BAR0, 0, b"memory")
    before = td.count(client, td.COUNT_RESET)
    client.reset()
    assert td.count(client, td.COUNT_RESET) == before + 1
    assert client.read32(vu.BAR1, td.REG_SCRATCH) == 0
    assert client.read32(vu.BAR1, td.REG_MAGIC) == td.MAGIC
    assert client.read(vu.BAR0, 0, 6) == bytes(6)


def test_config_space_goes_back(client):
    before = client.read(vu.CONFIG, 0, 4096)
    client.write(vu.CONFIG, 4, struct.pack("=H", 0x0407))
    client.write(vu.CONFIG, 0x10, struct.pack("=I", 0xFEBF0000))
    assert client.read(vu.CONFIG, 0, 256) != before[:256]
    client.reset()
    assert client.read(vu.CONFIG, 0, 4096) == before


def test_interrupts_stay_configured(client):
    with vu.eventfds(1) as (fd,):
        client.set_irqs(vu.DATA_EVENTFD | vu.ACTION_TRIGGER, vu.MSIX, 0, 1, fds=[fd])
        client.reset()
        td.trigger(client, vu.MSIX, 0)
        assert vu.signalled(fd) == 1


def test_line_is_lowered(client):
    with vu.eventfds(1) as (fd,):
        client.set_irqs(vu.DATA_EVENTFD | vu.ACTION_TRIGGER, vu.INTX, 0, 1, fds=[fd])
        td.set_level(client, True)
        assert vu.signalled(fd) == 1
        client.reset()
        client.set_irqs(vu.DATA_NONE | vu.ACTION_UNMASK, vu.INTX, 0, 1)
        assert vu.signalled(fd) == 0


def test_memory_stays_mapped(dma_client):
    with vu.memory_file(4096, b"mapped") as fd:
        dma_client.dma_map(0x10000, 4096, fd)
        dma_client.reset()
        td.enable_bus_master(dma_client)
        assert td.dma_read(dma_client, 0x10000, 6) == b"mapped"


def test_reset_again_and_again(client):
    """QEMU resets at start and on each system reset, once or twice."""
    for _ in range(20):
        client.reset()


def test_pending_driver_error_does_not_outlive_a_reset(client):
    client.write32(vu.BAR1, td.REG_FAIL, errno.EIO)
    client.reset()
    assert client.read(vu.BAR2, 0, 4) == td.pattern(0, 4)


@pytest.mark.parametrize("length", [1, 4, 16])
def test_reset_has_no_body(client, length):
    before = td.count(client, td.COUNT_RESET)
    client.fails(errno.EINVAL, vu.DEVICE_RESET, bytes(length))
    assert td.count(client, td.COUNT_RESET) == before


def test_device_without_a_reset_callback(plain_client):
    plain_client.reset()


def test_next_client_finds_a_reset_device(server):
    with server.negotiated() as client:
        client.write32(vu.BAR1, td.REG_SCRATCH, 1)
        opens, closes = td.count(client, td.COUNT_OPEN), td.count(client, td.COUNT_CLOSE)
        resets = td.count(client, td.COUNT_RESET)
    with server.negotiated() as client:
        assert client.read32(vu.BAR1, td.REG_SCRATCH) == 0
        assert td.count(client, td.COUNT_OPEN) == opens + 1
        assert td.count(client, td.COUNT_CLOSE) == closes + 1
        assert td.count(client, td.COUNT_RESET) == resets + 1


def test_first_client_finds_a_fresh_device(own_server):
    """The fixture's own client was the first; reset comes before each open but that one."""
    with own_server.negotiated() as client:
        assert td.count(client, td.COUNT_OPEN) == 2
        assert td.count(client, td.COUNT_CLOSE) == 1
        assert td.count(client, td.COUNT_RESET) == 1
    own_server.stop()
