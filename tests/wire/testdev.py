# SPDX-License-Identifier: BSD-3-Clause
"""The test driver's registers, as tests/drivers/umdev-testdev.c describes them."""

import struct

from vfiouser import BAR1, CONFIG

MAGIC = 0x74736574
REG_MAGIC = 0x00
REG_SCRATCH = 0x04
REG_TRIGGER = 0x08
REG_LEVEL = 0x0C
REG_RESULT = 0x10
REG_FAIL = 0x14
REG_DELAY = 0x18
REG_DMA_GO = 0x1C
REG_DMA_SRC = 0x20
REG_DMA_DST = 0x28
REG_DMA_LEN = 0x30
REG_WRITE_SUM = 0x38
REG_UNMAP_FIRST = 0x40
REG_UNMAP_LAST = 0x48
REG_BELL = 0x50
REG_BELL_MATCH = 0x54
REG_BELL_VALUE = 0x58
REG_BELL_SCRATCH = 0x60
REG_COUNT = 0x80

(
    COUNT_OPEN,
    COUNT_CLOSE,
    COUNT_RESET,
    COUNT_READ,
    COUNT_WRITE,
    COUNT_IRQS_CHANGED,
    COUNT_DMA_UNMAP,
    COUNT_BELL,
    COUNT_DMA_DONE,
) = range(9)

DMA_TO_BAR0, DMA_FROM_BAR0, DMA_COPY = 1, 2, 3
DMA_ENGINE = 0x100  # by a thread of the device
DMA_ASYNC = 0x200  # begun by the register write, ended by the last answer
DMA_VECTOR = 7  # the MSI-X vector that tells the end of these two

BELL_MATCH = 0x77
BELL_VECTOR = 7

MSIX_TABLE = 0x1000
MSIX_PBA = 0x1800
NUM_MSIX = 8
NUM_MSI = 8

BAR_SIZES = [0x10000, 0x2000, 0x200000, 0x10000, 0x1000, 64]
SPARSE_AREAS = [(0x1000, 0x2000), (0x8000, 0x4000)]


def pattern(offset, count):
    """What BAR2, BAR4 and the trapped part of BAR3 read as."""
    return bytes((n * 7 + (n >> 8) * 13 + (n >> 16)) & 0xFF for n in range(offset, offset + count))


def count(client, which):
    return client.read32(BAR1, REG_COUNT + 4 * which)


def trigger(client, index, vector):
    """The device raises an interrupt; returns the driver's result, 0 or an errno."""
    client.write32(BAR1, REG_TRIGGER, index << 16 | vector)
    return client.read32(BAR1, REG_RESULT)


def set_level(client, raised):
    client.write32(BAR1, REG_LEVEL, int(raised))
    assert client.read32(BAR1, REG_RESULT) == 0


def enable_bus_master(client):
    command = struct.unpack("=H", client.read(CONFIG, 4, 2))[0]
    client.write(CONFIG, 4, struct.pack("=H", command | 4))


def dma(client, command, src=0, dst=0, length=0):
    """The device copies; returns the driver's result, 0 or an errno."""
    client.write(BAR1, REG_DMA_SRC, struct.pack("=QQQ", src, dst, length))
    client.write32(BAR1, REG_DMA_GO, command)
    return client.read32(BAR1, REG_RESULT)


def dma_read(client, address, length):
    """What the device reads in client memory."""
    result = dma(client, DMA_TO_BAR0, src=address, length=length)
    assert result == 0, f"device's DMA read failed: errno {result}"
    return client.read(0, 0, length)
