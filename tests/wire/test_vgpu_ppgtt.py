# SPDX-License-Identifier: BSD-3-Clause
"""
A client whose IOVAs are not its guest's physical addresses, and move while pages are tracked, as behind a
virtual IOMMU: the vgpu's page tables by docs/vgpu.md, with each way that the device learns of writes.
"""

import contextlib
import ctypes
import random
import struct
import time

import ppgtt as pt
import pytest
import trackclient as tc
import vfiouser as vu
from control import Control
from server import Server, served_by
from vfiouser import BAR2, PAGE

METHODS = ["async", "sync", "compare"]
# In the client's file: the ring and fences of two devices, and pages.
RING_PAGES, PAGES = 16, 160
FIRST = 2 * (RING_PAGES + 1)
RING = 0xF0_0000_0000  # where devices have their rings
TABLES, DATA = 14, 40
DMA_UNMAPPED, VIRT_ENTRY = 11, 21


@pytest.fixture(scope="module")
def one():
    with served_by("vgpu", "vgpu-1", "vram=8M") as server:
        yield server


@pytest.fixture(scope="module")
def two():
    with served_by("vgpu", devices=2) as server:
        yield server


class Memory:
    """The client's, and a second copy of what is to be in it."""

    def __init__(self, memory, method):
        self.fd, self.hva, self.size = memory.fd, memory.hva, memory.size
        self.method = method
        self.mirror = bytearray(self.size)

    def write(self, page, index, value):
        """As pt.Round says it, by the address that writes are found by: not by the file."""
        data = struct.pack("<Q", value) * (512 if index is None else 1)
        self.write_bytes(page * PAGE + (index or 0) * 8, data)

    def write_bytes(self, offset, data):
        ctypes.memmove(self.hva + offset, data, len(data))
        self.mirror[offset : offset + len(data)] = data

    def word(self, page):
        return ctypes.c_uint64.from_address(self.hva + page * PAGE).value

    def expect(self, page, value):
        self.mirror[page * PAGE : (page + 1) * PAGE] = struct.pack("<Q", value) * 512

    def check(self):
        now = ctypes.string_at(self.hva, self.size)
        if now == self.mirror:
            return
        wrong = [page for page in range(self.size // PAGE)
                 if now[page * PAGE : (page + 1) * PAGE] != self.mirror[page * PAGE : (page + 1) * PAGE]]
        raise AssertionError(f"pages {wrong} are not what they are to be")


class Device:
    """A vgpu with its ring, in the client's memory."""

    def __init__(self, client, memory, number=0):
        self.client, self.memory = client, memory
        self.ring = pt.Ring(RING_PAGES * PAGE)
        self.first = number * (RING_PAGES + 1)
        self.base = RING + self.first * PAGE
        self.fence = 0
        self.map(self.first, self.base, RING_PAGES + 1)
        client.write(vu.CONFIG, 4, struct.pack("<H", 6))
        client.write64(BAR2, pt.RING_BASE, self.base)
        client.write32(BAR2, pt.RING_SIZE, RING_PAGES * PAGE)
        client.write32(BAR2, pt.CONTROL, pt.RUN)

    def map(self, page, iova, count=1):
        memory = self.memory
        if memory.method == "compare":
            self.client.dma_map(iova, count * PAGE, memory.fd, offset=page * PAGE)
            return
        body = tc.map_at_body(iova, count * PAGE, memory.hva + page * PAGE, offset=page * PAGE)
        assert self.client.call(tc.DMA_MAP_AT, body, [memory.fd]).body == b""

    def unmap(self, iova):
        assert self.client.dma_unmap(iova, PAGE) == PAGE

    def do(self, writes):
        """As pt.Round says them."""
        for what, *rest in writes:
            if what == "map":
                self.map(*rest)
            elif what == "unmap":
                self.unmap(rest[1])
            else:
                self.memory.write(what, *rest)

    def post(self, *packets):
        for offset, data in self.ring.put(b"".join(packets)):
            self.memory.write_bytes(self.first * PAGE + offset, data)

    def post_fence(self):
        self.fence += 1
        self.post(pt.fence(self.base + RING_PAGES * PAGE, self.fence))

    def doorbell(self):
        self.client.write32(BAR2, pt.RING_TAIL, self.ring.tail)

    def end(self):
        """Wait until the ring is empty, or has stopped with an error, (code, address), which is over then."""
        deadline = time.monotonic() + vu.TIMEOUT
        while (status := self.client.read32(BAR2, pt.STATUS)) == pt.RUNNING | pt.BUSY:
            assert time.monotonic() < deadline
        if status == pt.RUNNING:
            return None
        assert status == pt.STOPPED
        error = (self.client.read32(BAR2, pt.ERROR), self.client.read64(BAR2, pt.ERROR_ADDR))
        self.client.write32(BAR2, pt.CONTROL, pt.RESET | pt.RUN)
        self.ring = pt.Ring(self.ring.size)
        return error

    def wait(self, error=None):
        """The end must be this one."""
        assert self.end() == error
        self.memory.write(self.first + RING_PAGES, 0, self.fence)

    def run(self, *packets, error=None):
        """The packets and a fence, which with an error is not reached."""
        fence = self.fence
        self.post(*packets)
        self.post_fence()
        if error:
            self.fence = fence
        self.doorbell()
        self.wait(error)


@contextlib.contextmanager
def devices_of(server, method):
    """A client of all the server's devices, with one address space."""
    with contextlib.ExitStack() as stack:
        memory = stack.enter_context(tc.memory(PAGES))
        uffd = None
        if method != "compare":
            uffd = stack.enter_context(tc.userfaultfd(method == "sync"))
            memory.register(uffd)
        devices = []
        shared = Memory(memory, method)
        for number in range(len(server.paths)):
            client = stack.enter_context(server.negotiated(number, text=tc.OFFER))
            if uffd is not None:
                with tc.pagemap() as pagemap:
                    flags = tc.SYNC if method == "sync" else 0
                    assert client.call(tc.TRACK, tc.track_body(flags), [uffd, pagemap]).body == b""
            devices.append(Device(client, shared, number))
        yield devices
        # Before the memory goes, so that nobody waits for a write to it.
        for device in devices:
            device.client.close()


@pytest.fixture(params=METHODS)
def device(request, one):
    with devices_of(one, request.param) as (device,):
        yield device
    one.check()


@pytest.fixture(params=METHODS)
def both(request, two):
    with devices_of(two, request.param) as devices:
        yield devices
    two.check()


# ------------------------------------------------------------------ addresses that move


class Addresses:
    """Fresh ones of a guest that uses all of its address space, and now and then an old one again."""

    def __init__(self, chance):
        self.chance, self.used, self.old = chance, set(), []

    def take(self):
        if self.old and self.chance.random() < 0.5:
            return self.old.pop(self.chance.randrange(len(self.old)))
        while (address := self.chance.randrange(1 << 20) << 12 | self.chance.choice([0, 1 << 36])) in self.used:
            pass
        self.used.add(address)
        return address

    def give(self, address):
        self.old.append(address)


def move_some(tables, addresses, usable):
    """A few of the pages get other addresses, or one more."""
    pages = [page for page in tables.addresses if usable(page)]
    for page in tables.random.sample(pages, min(len(pages), tables.random.choice([0, 1, 3]))):
        if len(tables.addresses[page]) < 2 and tables.random.random() < 0.2:
            tables.alias(page, addresses.take())
            continue
        before = list(tables.addresses[page])
        tables.move(page, addresses.take())
        addresses.give(next(old for old in before if old not in tables.addresses[page]))


@pytest.mark.parametrize("seed", range(3))
def test_pages_move(device, seed):
    """Tables and data, between submissions, and those that are not needed while the device works."""
    print("seed", seed)
    chance = random.Random(seed)
    addresses = Addresses(chance)
    pages = chance.sample(range(FIRST, PAGES), TABLES + DATA)
    tables = pt.Tables(seed, pages[:TABLES], pages[TABLES:], {page: addresses.take() for page in pages})
    for page in pages:
        device.map(page, tables.addresses[page][0])
    for number in range(60):
        made = tables.round(0x10000 + number * 16)
        device.do(made.before)
        usual, faulty = (made.packets[:-1], made.packets[-1:]) if made.error else (made.packets, [])
        slow = [pt.mandelbrot(0, 1, 8192, space=0)] if number % 2 else []
        device.post(usual[0], *slow, *usual[1:])
        device.post_fence()
        device.post(*faulty)
        device.doorbell()
        # What this round has nothing to do with moves meanwhile.
        move_some(tables, addresses, lambda page: page not in made.used)
        device.do(tables.take_writes())
        device.wait(made.error)
        for page, value in made.effects:
            device.memory.expect(page, value)
        device.memory.check()
        device.do(made.after)
        for _ in range(tables.random.choice([0, 1, 5, 20])):
            tables.change()
        move_some(tables, addresses, lambda page: True)


class Tree:
    """Three tables and some pages of data, by the numbers that a test gives them."""

    ROOT, MIDDLE, LEAF, DATA = FIRST, FIRST + 1, FIRST + 2, FIRST + 3

    def __init__(self, device, base):
        self.device, self.base = device, base
        for page in range(FIRST, FIRST + 8):
            device.map(page, self.iova(page))
        device.memory.write(self.ROOT, 0, self.entry(self.MIDDLE, 0))
        device.memory.write(self.MIDDLE, 0, self.entry(self.LEAF, 0))
        self.show(0, self.DATA)

    def iova(self, page):
        return self.base + page * PAGE

    def entry(self, page, bits=pt.WRITABLE):
        return self.iova(page) | pt.GUEST | pt.VALID | bits

    def show(self, index, page):
        self.device.memory.write(self.LEAF, index, self.entry(page))

    def use(self, index, page, value):
        """The virtual page must be this one."""
        self.device.run(pt.ppgtt(self.iova(self.ROOT)), pt.fill(index * PAGE, value))
        self.device.memory.expect(page, value << 32 | value)
        self.device.memory.check()

    def fail(self, index, error):
        self.device.run(pt.ppgtt(self.iova(self.ROOT)), pt.fill(index * PAGE, 1), error=error)
        self.device.memory.check()


def test_a_table_is_written_while_it_has_no_address(device):
    tree = Tree(device, 0x100_0000_0000)
    tree.use(0, tree.DATA, 1)
    device.unmap(tree.iova(tree.LEAF))
    tree.show(0, tree.DATA + 1)
    device.map(tree.LEAF, 0x7000)
    device.memory.write(tree.MIDDLE, 0, 0x7000 | pt.GUEST | pt.VALID)
    tree.use(0, tree.DATA + 1, 2)


def test_a_table_goes_and_comes_back_as_it_was(device):
    tree = Tree(device, 0x100_0000_0000)
    for value in range(1, 6):
        tree.use(0, tree.DATA, value)
        device.unmap(tree.iova(tree.LEAF))
        if value == 3:
            tree.fail(0, (DMA_UNMAPPED, tree.iova(tree.LEAF)))
        device.map(tree.LEAF, tree.iova(tree.LEAF))


def test_another_table_at_the_same_address(device):
    """The tables above say what they said."""
    tree = Tree(device, 0x100_0000_0000)
    other = tree.DATA + 4
    device.memory.write(other, 0, tree.entry(tree.DATA + 1))
    for value in range(1, 7, 2):
        tree.use(0, tree.DATA, value)
        device.unmap(tree.iova(tree.LEAF))
        device.map(other, tree.iova(tree.LEAF)) if value != 3 else device.map(tree.DATA + 3, tree.iova(tree.LEAF))
        if value == 3:
            tree.fail(0, (pt.VIRT_UNMAPPED, 0))
        else:
            tree.use(0, tree.DATA + 1, value + 1)
        device.unmap(tree.iova(tree.LEAF))
        device.map(tree.LEAF, tree.iova(tree.LEAF))


def test_a_data_page_goes(device):
    """Its entry names an address where nothing is; then another page."""
    tree = Tree(device, 0x100_0000_0000)
    tree.use(0, tree.DATA, 1)
    device.unmap(tree.iova(tree.DATA))
    tree.fail(0, (DMA_UNMAPPED, tree.iova(tree.DATA)))
    device.map(tree.DATA + 3, tree.iova(tree.DATA))
    tree.use(0, tree.DATA + 3, 2)


@pytest.mark.parametrize("gone", [Tree.DATA, Tree.LEAF, Tree.MIDDLE, Tree.ROOT])
def test_a_page_goes_while_the_device_works(device, gone):
    """It is out of reach when the unmap returns. What needs it then fails, and nothing else changes."""
    tree = Tree(device, 0x100_0000_0000)
    tree.use(0, tree.DATA, 1)
    for value in range(2, 8):
        # Longer than it takes to unmap; on a machine that is busy the work may be done before.
        device.post(pt.ppgtt(tree.iova(tree.ROOT)), pt.fill(0, 0), pt.mandelbrot(0, 1, 65536, space=0))
        device.post(pt.fill(0, value))
        device.doorbell()
        # So that the page is in use.
        while value % 2 and device.memory.word(tree.DATA) and device.client.read32(BAR2, pt.STATUS) & pt.BUSY:
            pass
        device.unmap(tree.iova(gone))
        then = device.memory.word(tree.DATA)
        error = device.end()
        now = device.memory.word(tree.DATA)
        if gone == tree.DATA:
            assert now == then
        if error:
            assert error == (DMA_UNMAPPED, tree.iova(gone))
        assert now == value << 32 | value if not error else now in (0, (value - 1) << 32 | value - 1)
        device.memory.expect(tree.DATA, now)
        device.memory.check()
        device.map(gone, tree.iova(gone))
        tree.use(0, tree.DATA, value)


# ------------------------------------------------------------------ another device writes


def test_another_device_writes_to_a_table(both):
    """By its own DMA, at an IOVA of its own. The first one notices at its next doorbell."""
    first, second = both
    tree = Tree(first, 0x100_0000_0000)
    second.map(tree.LEAF, 0x5000)
    second.map(tree.DATA + 4, 0x9000)
    for value in range(1, 20):
        page = tree.DATA + value % 4
        first.memory.write(tree.DATA + 4, 0, tree.entry(page))
        second.run(pt.copy(0x5000, 0x9000, space=pt.GUEST, source_space=pt.GUEST))
        first.memory.expect(tree.LEAF, 0)
        first.memory.mirror[tree.LEAF * PAGE : tree.LEAF * PAGE + 8] = struct.pack("<Q", tree.entry(page))
        tree.use(0, page, value)


def test_another_device_writes_to_a_table_by_its_page_tables(both):
    """Where it keeps the table pinned to be written."""
    first, second = both
    tree = Tree(first, 0x100_0000_0000)
    other = 0x200_0000_0000
    # Of the second device: root, middle, leaf; its virtual page 0 is the first one's leaf table.
    for n, page in enumerate(range(FIRST + 20, FIRST + 23)):
        second.map(page, other + n * PAGE)
    second.map(tree.LEAF, 0x5000)
    first.memory.write(FIRST + 20, 0, other + PAGE | pt.GUEST | pt.VALID)
    first.memory.write(FIRST + 21, 0, other + 2 * PAGE | pt.GUEST | pt.VALID)
    first.memory.write(FIRST + 22, 0, 0x5000 | pt.GUEST | pt.VALID | pt.WRITABLE)
    for value in range(1, 20):
        page = tree.DATA + value % 4
        second.run(pt.ppgtt(other), pt.fence(16, tree.entry(page), pt.VIRTUAL))
        first.memory.mirror[tree.LEAF * PAGE + 16 : tree.LEAF * PAGE + 24] = struct.pack("<Q", tree.entry(page))
        tree.use(2, page, value)


def test_a_device_writes_to_its_own_table(device):
    tree = Tree(device, 0x100_0000_0000)
    for value in range(1, 20):
        page = tree.DATA + value % 4
        device.run(pt.fence(tree.iova(tree.LEAF), tree.entry(page)))
        device.memory.mirror[tree.LEAF * PAGE : tree.LEAF * PAGE + 8] = struct.pack("<Q", tree.entry(page))
        tree.use(0, page, value)


def test_a_table_that_is_mapped_by_the_tables(device):
    """A program's memory can't be one of its page tables."""
    tree = Tree(device, 0x100_0000_0000)
    tree.show(1, tree.LEAF)
    tree.use(0, tree.DATA, 1)
    tree.fail(1, (VIRT_ENTRY, PAGE))


@pytest.mark.parametrize("method", METHODS)
def test_how_writes_are_found(method, tmp_path):
    """What the tests above are about: three tables, each page once, and none compared without need."""
    path = str(tmp_path / "control")
    server = Server("vgpu", "vgpu-1", "vram=8M", "--control", path)
    try:
        with devices_of(server, method) as (device,):
            tree = Tree(device, 0x100_0000_0000)
            tree.use(0, tree.DATA, 1)
            device.map(tree.LEAF, 0x7000)
            with Control(path) as control:
                stats = control.ask("show")["result"]["devices"][0]["stats"]
        assert (stats["tracked_pages"], stats["compared_pages"]) == (3, 3 if method == "compare" else 0)
        assert stats["track_method"] == {"compare": 0, "async": 1, "sync": 2}[method]
        server.stop()
    finally:
        server.kill()
