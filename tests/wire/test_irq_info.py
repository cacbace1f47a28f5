# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_GET_IRQ_INFO."""

import errno

import pytest
import testdev as td
import vfiouser as vu


@pytest.mark.parametrize(
    "index, flags, count",
    [
        (vu.INTX, vu.IRQ_EVENTFD | vu.IRQ_MASKABLE | vu.IRQ_AUTOMASKED, 1),
        (vu.MSI, vu.IRQ_EVENTFD | vu.IRQ_NORESIZE, td.NUM_MSI),
        (vu.MSIX, vu.IRQ_EVENTFD, td.NUM_MSIX),
        (vu.ERR, vu.IRQ_EVENTFD | vu.IRQ_NORESIZE, 1),
        (vu.REQ, vu.IRQ_EVENTFD | vu.IRQ_NORESIZE, 1),
    ],
)
def test_every_index(client, index, flags, count):
    assert client.irq_info(index) == (flags, count)


@pytest.mark.parametrize("index", [vu.INTX, vu.MSI, vu.MSIX])
def test_device_without_interrupts(plain_client, index):
    """The index exists and has no vectors."""
    assert plain_client.irq_info(index)[1] == 0


@pytest.mark.parametrize("index", [5, 6, 255, 0x80000000, 0xFFFFFFFF])
def test_index_out_of_range(client, index):
    client.fails(errno.EINVAL, vu.DEVICE_GET_IRQ_INFO, vu.irq_info_body(index))


@pytest.mark.parametrize("argsz", [0, 15])
def test_small_argsz(client, argsz):
    client.fails(errno.EINVAL, vu.DEVICE_GET_IRQ_INFO, vu.irq_info_body(0, argsz))


@pytest.mark.parametrize("length", [0, 4, 15, 17, 4096])
def test_wrong_body_length(client, length):
    body = vu.irq_info_body(0).ljust(length, b"\0")[:length]
    client.fails(errno.EINVAL, vu.DEVICE_GET_IRQ_INFO, body)
