# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_GET_INFO."""

import errno
import struct

import pytest
import vfiouser as vu


def test_pci_device_with_reset(client):
    assert client.get_info() == (vu.DEVICE_FLAG_RESET | vu.DEVICE_FLAG_PCI, 9, 5)


def test_plain_device(plain_client):
    flags, regions, irqs = plain_client.get_info()
    assert flags & vu.DEVICE_FLAG_PCI and (regions, irqs) == (9, 5)


def test_larger_argsz(client):
    """argsz is the most the client takes; the reply says what it is."""
    reply = client.call(vu.DEVICE_GET_INFO, vu.info_body(argsz=4096))
    assert len(reply.body) == 16 and struct.unpack_from("=I", reply.body)[0] == 16


@pytest.mark.parametrize("argsz", [0, 8, 15])
def test_small_argsz(client, argsz):
    client.fails(errno.EINVAL, vu.DEVICE_GET_INFO, vu.info_body(argsz))


@pytest.mark.parametrize("length", [0, 4, 15, 17, 32, 4096])
def test_wrong_body_length(client, length):
    body = vu.info_body().ljust(length, b"\0")[:length]
    client.fails(errno.EINVAL, vu.DEVICE_GET_INFO, body)
