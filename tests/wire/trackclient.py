# SPDX-License-Identifier: BSD-3-Clause
"""A client with write tracking (docs/protocol.md), and the registers of umdev-trackdev.c."""

import contextlib
import ctypes
import os
import struct

import testdev
import userfaultfd as uf
import vfiouser as vu
from server import served_by
from vfiouser import BAR0, PAGE

TRACK_INFO, TRACK, DMA_MAP_AT = 0x8010, 0x8011, 0x8012
SYNC = 1
OFFER = '{"capabilities":{"max_msg_fds":16,"umdev":{"track":1}}}'
BASE = 0x100000

REG_IOVA, REG_SIZE, REG_GO, REG_RESULT, REG_COUNT, REG_INDEX = 0, 8, 0x10, 0x14, 0x18, 0x1C
REG_RANGE, REG_VALUE, REG_TOLD, REG_TOLD_IOVA, REG_TOLD_VALUE = 0x20, 0x38, 0x40, 0x48, 0x50
GO_ADD, GO_REMOVE, GO_COLLECT, GO_WRITE = range(1, 5)
WRITTEN, LOST = 1, 2

# Faults say that they are of write protection; shared memory; pages that are not there; and no wait.
FEATURES, ASYNC = 1 << 0 | 1 << 12 | 1 << 13, 1 << 15


def map_at_body(address, size, hva, flags=vu.READABLE | vu.WRITEABLE, offset=0, argsz=40):
    return struct.pack("=IIQQQQ", argsz, flags, offset, address, size, hva)


def track_body(flags=0, argsz=8):
    return struct.pack("=II", argsz, flags)


@contextlib.contextmanager
def userfaultfd(sync=False, more=0):
    fd = uf.open_uffd(FEATURES | more | (0 if sync else ASYNC))
    try:
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def pagemap(pid="self"):
    fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


class Memory:
    """A client's file, mapped by it."""

    def __init__(self, pages=16):
        self.fd = os.memfd_create("wire-test", os.MFD_CLOEXEC)
        self.size = pages * PAGE
        os.ftruncate(self.fd, self.size)
        self.hva = uf.LIBC.mmap(None, self.size, 3, 1, self.fd, 0)

    def close(self):
        uf.LIBC.munmap(self.hva, self.size)
        os.close(self.fd)

    def register(self, uffd):
        uf.register(uffd, self.hva, self.size, uf.WRITE_PROTECT)

    def write(self, page, value):
        ctypes.c_uint64.from_address(self.hva + page * PAGE).value = value

    def read(self, page):
        return ctypes.c_uint64.from_address(self.hva + page * PAGE).value


@contextlib.contextmanager
def memory(pages=16):
    memory = Memory(pages)
    try:
        yield memory
    finally:
        memory.close()


class Trackdev:
    """A client of the device, and its registers."""

    def __init__(self, client):
        self.client = client
        testdev.enable_bus_master(client)

    def give(self, uffd, pagemap, sync=False):
        assert self.client.call(TRACK, track_body(SYNC if sync else 0), [uffd, pagemap]).body == b""

    def map(self, memory, page=0, count=1, iova=BASE, at=True):
        if at:
            hva = memory.hva + page * PAGE
            body = map_at_body(iova, count * PAGE, hva, offset=page * PAGE)
            assert self.client.call(DMA_MAP_AT, body, [memory.fd]).body == b""
        else:
            self.client.dma_map(iova, count * PAGE, memory.fd, offset=page * PAGE)

    def go(self, command, iova=0, size=0):
        self.client.write64(BAR0, REG_IOVA, iova)
        self.client.write64(BAR0, REG_SIZE, size)
        self.client.write32(BAR0, REG_GO, command)
        return self.client.read32(BAR0, REG_RESULT)

    def add(self, iova=BASE, pages=1):
        return self.go(GO_ADD, iova, pages * PAGE)

    def remove(self, iova=BASE, pages=1):
        return self.go(GO_REMOVE, iova, pages * PAGE)

    def write(self, iova, value):
        self.client.write64(BAR0, REG_VALUE, value)
        assert self.go(GO_WRITE, iova) == 0

    def collect(self):
        """[(IOVA, pages, flags)], sorted."""
        assert self.go(GO_COLLECT) == 0
        ranges = []
        for index in range(self.client.read32(BAR0, REG_COUNT)):
            self.client.write32(BAR0, REG_INDEX, index)
            iova, size, flags = struct.unpack("=QQQ", self.client.read(BAR0, REG_RANGE, 24))
            ranges.append((iova, size // PAGE, flags))
        return sorted(ranges)

    @property
    def told(self):
        return self.client.read32(BAR0, REG_TOLD)


def served(kind="collect", devices=1):
    arguments = [f"trackdev-{kind}"] if devices == 1 else []
    return served_by("trackdev", *arguments, devices=devices)
