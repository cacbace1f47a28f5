# SPDX-License-Identifier: BSD-3-Clause
"""
A guest builds page tables in its memory, lets the vgpu work by them, and rewrites them, by docs/vgpu.md:
with each way that the device has to learn of the writes.

The guest's memory from ARENA on is the ring, tables, and data pages. All that is to be in it is a second
time in MIRROR: what the guest writes it writes to both; what the device has done the guest does to the
mirror by itself, afterwards; and then the two are compared, every word of them.
"""

import random

import ppgtt as pt
import pytest
import trackclient
from tinyvm import PAGE, show

ARENA, MIRROR, SIZE = 0x300000, 0x600000, 0x300000
RING, RING_SIZE, FENCE = ARENA, 0x10000, ARENA + 0x10000
FIRST_PAGE = 0x20  # of the arena; those before are the ring and the fence
TABLES, DATA = 14, 40
METHODS = {"off": 0, "async": 1, "sync": 2}  # what `umdev show` calls them in JSON


class Script:
    """A vCPU's."""

    def __init__(self):
        self.lines, self.ring, self.fence = [], pt.Ring(RING_SIZE), 0

    def add(self, *lines):
        self.lines += lines

    def text(self):
        return "".join(f"{line}\n" for line in self.lines)

    def word(self, address, value):
        self.add(f"mem-write {address:#x} {value:#x}", f"mem-write {address - ARENA + MIRROR:#x} {value:#x}")

    def mirror_page(self, page, value):
        self.add(f"mem-fill {MIRROR + page * PAGE:#x} {value:#x} {PAGE}")

    def write(self, page, index, value):
        """As pt.Round says it."""
        if index is None:
            self.add(f"mem-fill {ARENA + page * PAGE:#x} {value:#x} {PAGE}")
            self.mirror_page(page, value)
        else:
            self.word(ARENA + page * PAGE + index * 8, value)

    def start(self, more=0):
        """Run the ring, from its beginning."""
        self.add(f"reg-write {pt.CONTROL:#x} {pt.RUN | more}")
        self.ring = pt.Ring(RING_SIZE)

    def prepare(self):
        self.add(f"reg-write {pt.RING_BASE:#x} {RING:#x}", f"reg-write {pt.RING_SIZE:#x} {RING_SIZE:#x}")
        self.start()

    def post(self, *packets):
        """Into the ring; the doorbell is extra."""
        for offset, data in self.ring.put(b"".join(packets)):
            for index, value in enumerate(pt.words(data)):
                self.word(RING + offset + index * 8, value)

    def post_fence(self):
        self.fence += 1
        self.post(pt.fence(FENCE, self.fence))

    def doorbell(self):
        self.add(f"reg-write {pt.RING_TAIL:#x} {self.ring.tail:#x}")

    def wait_idle(self):
        self.add(f"reg-until {pt.STATUS:#x} {pt.RUNNING | pt.BUSY} {pt.RUNNING}")

    def wait_error(self, code, address):
        self.add(
            f"reg-until {pt.STATUS:#x} {pt.RUNNING | pt.BUSY} {pt.STOPPED}", f"reg-expect {pt.ERROR:#x} {code}",
            f"reg-expect {pt.ERROR_ADDR:#x} {address & 0xFFFFFFFF:#x}", f"reg-expect {pt.ERROR_ADDR + 4:#x} {address >> 32:#x}")
        self.start(pt.RESET)

    def check(self):
        """The fence was the last word of the device's."""
        self.add(f"mem-write {FENCE - ARENA + MIRROR:#x} {self.fence}", f"mem-same {ARENA:#x} {MIRROR:#x} {SIZE:#x}")

    def round(self, made):
        for write in made.before:
            self.write(*write)
        usual, faulty = (made.packets[:-1], made.packets[-1:]) if made.error else (made.packets, [])
        self.post(*usual)
        self.post_fence()
        self.post(*faulty)
        self.doorbell()
        self.wait_error(*made.error) if made.error else self.wait_idle()
        for page, value in made.effects:
            self.mirror_page(page, value)
        self.check()
        for write in made.after:
            self.write(*write)


def pages(seed, count):
    """Some of the arena's, in no order, and their addresses."""
    chosen = random.Random(seed).sample(range(FIRST_PAGE, SIZE // PAGE), count)
    return chosen, {page: ARENA + page * PAGE for page in chosen}


@pytest.fixture(params=METHODS)
def track(request):
    if request.param != "off":
        with trackclient.userfaultfd(request.param == "sync"):
            pass  # or this kernel has it not, and the test is skipped
    return request.param


def run(vgpu, start, track, *scripts):
    """The VM, which pauses once when there are tables: are they watched as they should be?"""
    vm = start(vgpu.path, *(script.text() for script in scripts), options=["--registers", "2", "--track", track])
    assert vm.line().endswith(": report: 0x1")
    stats = show(vgpu.control)
    vm.go_on()
    lines = vm.succeeds()
    assert stats["tracked_pages"] > 0 and stats["track_method"] == METHODS[track]
    assert stats["compared_pages"] == (stats["tracked_pages"] if track == "off" else 0)
    return lines


@pytest.mark.parametrize("seed", range(3))
def test_tables_are_rewritten_between_doorbells(vgpu, start, track, seed):
    """Exactly the pages that the tables named at the doorbell are written."""
    print("seed", seed)
    chosen, addresses = pages(seed, TABLES + DATA)
    tables = pt.Tables(seed, chosen[:TABLES], chosen[TABLES:], addresses)
    script = Script()
    script.prepare()
    for number in range(80):
        script.round(tables.round(0x10000 + number * 16))
        if number == 10:
            script.add("report 1", "pause")
        for _ in range(tables.random.choice([0, 1, 5, 20])):
            tables.change()
    run(vgpu, start, track, script)


# ------------------------------------------------------------------ while the device works


class Fixed:
    """Page tables of which one leaf table is for addresses 0 to 2 MiB, another one for those behind."""

    VRAM = 5  # the entry of a page of the VRAM
    LINK = 512  # the first behind 2 MiB, by the second entry of the middle table

    def __init__(self, script, seed):
        chosen, _ = pages(seed, 60)
        self.root, self.middle, self.leaf, self.other, self.third, *self.data = chosen
        self.script = script
        script.write(self.root, 0, self.entry(self.middle, 0))
        script.write(self.middle, 0, self.entry(self.leaf, 0))
        script.write(self.leaf, self.VRAM, pt.VALID | pt.WRITABLE)

    @staticmethod
    def entry(page, bits=pt.WRITABLE):
        return ARENA + page * PAGE | pt.GUEST | pt.VALID | bits

    def take(self):
        """A page for data."""
        return self.data.pop()

    def show(self, index, page, bits=pt.WRITABLE):
        self.script.write(self.leaf, index, self.entry(page, bits))

    def packet(self):
        return pt.ppgtt(ARENA + self.root * PAGE)


def test_tables_are_rewritten_while_a_batch_runs(vgpu, start, track):
    """A batch is finished by what the tables said when it began; what is behind the next doorbell goes by
    what they say then."""
    script, chance = Script(), random.Random(5)
    tables = Fixed(script, 5)
    batch_page = tables.take()
    tables.show(0, batch_page)
    places = {index: (tables.take(), tables.take()) for index in range(10, 26)}
    for index, (page, _) in places.items():
        tables.show(index, page)
    script.prepare()
    for number in range(1, 13):
        stamp = number << 8
        packets = pt.fence(0, number << 16, pt.VIRTUAL, flags=0) + pt.mandelbrot(tables.VRAM * PAGE, 1, 65536)
        packets += b"".join(pt.fill(index * PAGE, stamp | index) for index in places)
        for at, word in enumerate(pt.words(packets)):
            script.write(batch_page, at, word)
        script.post(tables.packet(), pt.batch(0, len(packets)))
        script.doorbell()
        # It has begun: by then its tables are known, and all of this comes too late for it.
        script.add(f"reg-until {pt.FENCE_REG:#x} {max(0, number - 1)} {number << 16:#x}")
        moved = {index: page for index, (_, page) in places.items() if chance.random() < 0.5}
        for index, page in moved.items():
            tables.show(index, page)
        gone = [index for index in places if index not in moved and chance.random() < 0.3]
        for index in gone:
            script.write(tables.leaf, index, 0)
        late = chance.random() < 0.7
        now = {index: moved.get(index, page) for index, (page, _) in places.items() if index not in gone}
        if late:
            script.post(*[pt.fill(index * PAGE, stamp | 0x80 | index) for index in now])
            script.post_fence()
            script.doorbell()
        script.wait_idle()
        for index, (page, _) in places.items():
            script.mirror_page(page, (stamp | index) * (1 | 1 << 32))
        for index, page in now.items() if late else ():
            script.mirror_page(page, (stamp | 0x80 | index) * (1 | 1 << 32))
        script.check()
        if number == 3:
            script.add("report 1", "pause")
        # The register holds the number of the next one's wait.
        script.post(pt.fence(0, number, flags=0))
        script.doorbell()
        script.wait_idle()
        for index, page in moved.items():
            places[index] = (page, places[index][0])
        for index in gone:
            tables.show(index, places[index][0])
    run(vgpu, start, track, script)


ROUND, DONE, MINE, ONE, OTHER = "@1", "@2", "@3", "@5", "@6"  # cells
NOTE = FENCE + 8


def test_tables_are_rewritten_by_another_processor_all_the_time(vgpu, start, track):
    """It changes entries between two pages each, and one between two tables, with no care for the device.
    A page is written whole, the one or the other; nothing else is written; and when it has stopped the
    next doorbell goes by its last word."""
    script, racer, rounds, stamp = Script(), Script(), 12, 0x100
    tables = Fixed(script, 6)
    places = [(index * PAGE, tables.take(), tables.take()) for index in range(8)]
    words = [(ARENA + tables.leaf * PAGE + index * 8, one, other) for index, (_, one, other) in enumerate(places)]
    far = (tables.LINK * PAGE, tables.take(), tables.take())
    script.write(tables.other, 0, tables.entry(far[1]))
    script.write(tables.third, 0, tables.entry(far[2]))
    words = [(word, tables.entry(one), tables.entry(other)) for word, one, other in words]
    words.append((ARENA + tables.middle * PAGE + 8, tables.entry(tables.other, 0), tables.entry(tables.third, 0)))
    places.append(far)
    for word, one, _ in words:
        script.word(word, one)
    script.prepare()
    racer.add(f"repeat {rounds}", f"add {MINE} 1", f"wait {ROUND} {MINE}", "repeat 5000")
    for value in (2, 1):
        racer.add(*[f"mem-write {word[0]:#x} {word[value]:#x}" for word in words])
    racer.add("end", f"set {DONE} {MINE}", "end")
    for number in range(1, rounds + 1):
        for _, one, other in places:
            script.write(one, None, 0)
            script.write(other, None, 0)
        script.add(f"set {ROUND} {number}")
        stamp += len(places)
        for n, (address, _, _) in enumerate(places):
            script.post(tables.packet(), pt.fill(address, stamp + n))
            script.post_fence()
            script.doorbell()
            script.wait_idle()
        script.add(f"wait {DONE} {number}", *[f"mem-write {word - ARENA + MIRROR:#x} {one:#x}" for word, one, _ in words])
        for n, (_, one, other) in enumerate(places):
            script.add(f"mem-read {ARENA + one * PAGE:#x} {ONE}", f"mem-read {ARENA + other * PAGE:#x} {OTHER}")
            script.mirror_page(one, 0)
            script.add(f"mem-fill {MIRROR + one * PAGE:#x} {ONE} {PAGE}", f"mem-fill {MIRROR + other * PAGE:#x} {OTHER} {PAGE}")
            script.add(f"add {ONE} {OTHER}", f"mem-write {NOTE:#x} {ONE}", f"mem-write {NOTE - ARENA + MIRROR:#x} {ONE}")
            script.add(f"mem-expect {NOTE:#x} {(stamp + n) * (1 | 1 << 32):#x}")
        script.check()
        if number == 2:
            script.add("report 1", "pause")
        stamp += len(places)
        final = [number >> n & 1 for n in range(len(places))]
        for (word, one, other), which in zip(words, final):
            script.word(word, other if which else one)
        script.post(*[pt.fill(address, stamp + n) for n, (address, _, _) in enumerate(places)])
        script.post_fence()
        script.doorbell()
        script.wait_idle()
        for n, ((_, one, other), which) in enumerate(zip(places, final)):
            script.mirror_page(other if which else one, (stamp + n) * (1 | 1 << 32))
        script.check()
    run(vgpu, start, track, script, racer)
