# SPDX-License-Identifier: BSD-3-Clause
"""The device's DMA over many mappings, against a model of plain bytes."""

import contextlib
import errno
import os
import random

import pytest
import testdev as td
import vfiouser as vu
from vfiouser import PAGE

BASE = 0x7F000


class Patchwork:
    """Pages of one IOVA range, each mapping from another file or another place of it."""

    def __init__(self, client, rng, pages):
        self.client = client
        self.size = pages * PAGE
        self.pieces = []  # offset in the range, size, fd, offset in the file
        self.files = contextlib.ExitStack()
        at = 0
        while at < pages:
            count = min(rng.choice([1, 1, 2, 5]), pages - at)
            fd = self.files.enter_context(vu.memory_file((count + 3) * PAGE))
            offset = rng.randrange(4) * PAGE
            self.pieces.append((at * PAGE, count * PAGE, fd, offset))
            at += count
        for start, size, fd, offset in rng.sample(self.pieces, len(self.pieces)):
            client.dma_map(BASE + start, size, fd, offset=offset)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.files.close()

    def fill(self, data):
        for start, size, fd, offset in self.pieces:
            os.pwrite(fd, data[start : start + size], offset)

    def bytes(self):
        return b"".join(os.pread(fd, size, offset) for _, size, fd, offset in self.pieces)


@pytest.mark.parametrize("seed", range(4))
def test_copies_against_a_model(dma_client, seed):
    """Overlapping ones too, which are copied as by memmove()."""
    rng = random.Random(seed)
    with Patchwork(dma_client, rng, 64) as memory:
        model = bytearray(rng.randbytes(memory.size))
        memory.fill(model)
        for step in range(60):
            length = rng.choice([1, 7, 8, 100, PAGE, PAGE + 1, 3 * PAGE, 40000, 150000])
            src = rng.randrange(memory.size - length)
            if rng.random() < 0.5:
                near = src + rng.choice([-PAGE, -PAGE + 1, -9, -1, 0, 1, 9, PAGE - 1, PAGE])
                dst = min(max(near, 0), memory.size - length)
            else:
                dst = rng.randrange(memory.size - length)
            assert td.dma(dma_client, td.DMA_COPY, BASE + src, BASE + dst, length) == 0
            model[dst : dst + length] = model[src : src + length]
            assert memory.bytes() == model, f"step {step}: {length} bytes from {src} to {dst}"


@pytest.mark.parametrize("seed", range(2))
def test_reads_and_writes_against_a_model(dma_client, seed):
    rng = random.Random(100 + seed)
    with Patchwork(dma_client, rng, 32) as memory:
        model = bytearray(rng.randbytes(memory.size))
        memory.fill(model)
        for _ in range(60):
            length = rng.choice([1, 3, 8, 100, PAGE, PAGE + 1, 20000, 65536])
            at = rng.randrange(memory.size - length)
            if rng.random() < 0.5:
                assert td.dma_read(dma_client, BASE + at, length) == model[at : at + length]
            else:
                data = rng.randbytes(length)
                dma_client.write(vu.BAR0, 0, data)
                assert td.dma(dma_client, td.DMA_FROM_BAR0, dst=BASE + at, length=length) == 0
                model[at : at + length] = data
        assert memory.bytes() == model


@pytest.mark.parametrize(
    "flags, number", [(vu.READABLE, errno.EPERM), (vu.WRITEABLE, errno.EPERM), (None, errno.EFAULT)]
)
def test_all_or_nothing(dma_client, flags, number):
    """The last page of the target or source will not do: no byte is copied before it either."""
    with vu.memory_file(4 * PAGE, b"\x11" * 4 * PAGE) as fd:
        dma_client.dma_map(0, 3 * PAGE, fd)
        if flags is not None:
            dma_client.dma_map(3 * PAGE, PAGE, fd, flags, 3 * PAGE)
        dma_client.write(vu.BAR0, 0, b"\x22" * 2 * PAGE)
        if flags != vu.WRITEABLE:
            result = td.dma(dma_client, td.DMA_FROM_BAR0, dst=2 * PAGE, length=2 * PAGE)
            assert result == number
            assert td.dma(dma_client, td.DMA_COPY, 0, 2 * PAGE, 2 * PAGE) == number
        if flags != vu.READABLE:
            result = td.dma(dma_client, td.DMA_TO_BAR0, src=2 * PAGE, length=2 * PAGE)
            assert result == number
            assert td.dma(dma_client, td.DMA_COPY, 2 * PAGE, 0, 2 * PAGE) == number
        assert os.pread(fd, 4 * PAGE, 0) == b"\x11" * 4 * PAGE


def test_memory_without_a_file_next_to_memory_with_one(dma_client):
    with vu.memory_file(PAGE, b"\x11" * PAGE) as fd:
        dma_client.dma_map(0, PAGE, fd)
        dma_client.dma_map(PAGE, PAGE)
        for command in (td.DMA_TO_BAR0, td.DMA_FROM_BAR0):
            result = td.dma(dma_client, command, PAGE - 8, PAGE - 8, 16)
            assert result == errno.EDEADLK
        assert os.pread(fd, PAGE, 0) == b"\x11" * PAGE


def test_length_that_wraps(dma_client):
    with vu.memory_file(PAGE) as fd:
        dma_client.dma_map(0, PAGE, fd)
        for length in ((1 << 64) - 1, 1 << 63, (1 << 64) - 8):
            assert td.dma(dma_client, td.DMA_COPY, 0, 16, length)
            assert td.dma(dma_client, td.DMA_COPY, 16, 0, length)
        dma_client.check_in_step()
