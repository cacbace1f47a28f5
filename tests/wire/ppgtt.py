# SPDX-License-Identifier: BSD-3-Clause
"""
Page tables for a vgpu (docs/vgpu.md), rewritten at random, and a model of what the device must do.

Data model. Guest memory is pages with numbers of the test's. A page has one or more addresses, which may
change. It is a table of a level, which it stays until it is a data page again, or a data page, which
holds one 64-bit word over and over. Of *roots*, the top tables, there are two: programs with page tables
of their own, which may share those below. A tables' page is in one place of a root's tree at most.

A round is what the guest writes, then a doorbell with what the device is to do, then what must have become
of memory, to the page. It is made here, and carried out by the test, which knows where memory is.

"""

import random
import struct

from vfiouser import PAGE

VALID, WRITABLE, GUEST = 1, 2, 1 << 8
VIRTUAL = 1 << 9
RAW32 = 3
NOP, FILL, COPY, DISPATCH, FENCE, BATCH, PPGTT = 0, 1, 2, 4, 5, 6, 11
KERNEL_MANDELBROT = 0
FENCE_WRITE = 1
VIRT_UNMAPPED, VIRT_PROTECTION = 19, 20

CONTROL, STATUS, ERROR, ERROR_ADDR = 0x101C, 0x1020, 0x1024, 0x1038
RING_BASE, RING_SIZE, RING_TAIL, FENCE_REG = 0x1048, 0x1050, 0x1058, 0x1060
RUN, RESET = 1, 2
RUNNING, BUSY, STOPPED = 1, 2, 4  # in STATUS

LEVELS = 3
# Few, so that what is rewritten is what is used. Runs of neighbours among the leaves.
SLOTS = {1: (0, 1, 2, 3, 200, 201, 510, 511), 2: (0, 1, 300, 511), 3: (0, 7, 511)}


# ------------------------------------------------------------------ packets


def packet(opcode, body, arg=0, flags=0):
    return struct.pack("<II", opcode | flags << 8 | (8 + len(body)) // 4 << 16, arg) + body


def surface(address, pages, space=VIRTUAL):
    """Whole pages, a row each."""
    return struct.pack("<IIIIQ", RAW32 | space, PAGE, PAGE // 4, pages, address)


def fill(address, value, pages=1, space=VIRTUAL):
    """Every 32-bit word of the pages."""
    rectangle = struct.pack("<IIII", 0, 0, PAGE // 4, pages)
    return packet(FILL, surface(address, pages, space) + rectangle + struct.pack("<II", value, 0))


def copy(to, source, pages=1, space=VIRTUAL, source_space=VIRTUAL):
    where = struct.pack("<IIIIII", 0, 0, 0, 0, PAGE // 4, pages)
    return packet(COPY, surface(to, pages, space) + surface(source, pages, source_space) + where)


def fence(address, value, space=0, flags=FENCE_WRITE):
    return packet(FENCE, struct.pack("<QQ", address, value), space, flags)


def batch(address, size):
    return packet(BATCH, struct.pack("<QII", address, size, 0), VIRTUAL)


def ppgtt(root, levels=LEVELS):
    return packet(PPGTT, struct.pack("<Q", root), levels)


def mandelbrot(address, rows, iterations, space=VIRTUAL):
    """Takes its time: all points are in the set. Rows of 1024 pixels, a page each; 65536 iterations of one are about 10 ms."""
    body = surface(address, rows, space) + struct.pack("<IIII", 0, 0, PAGE // 4, rows)
    return packet(DISPATCH, body + struct.pack("<ddddII", 0, 0, 0, 0, iterations, 0), KERNEL_MANDELBROT)


def words(data):
    return struct.unpack(f"<{len(data) // 8}Q", data)


class Ring:
    """Where packets go. put() gives [(offset, bytes)] to be written before the doorbell at `tail`."""

    def __init__(self, size):
        self.size, self.tail = size, 0

    def put(self, data):
        """Packets that need not be one behind the other."""
        pieces = []
        while data:
            length = struct.unpack_from("<H", data, 2)[0] * 4
            left = self.size - self.tail
            if left < length:
                pieces.append((self.tail, packet(NOP, bytes(left - 8))))
                self.tail = 0
            pieces.append((self.tail, data[:length]))
            self.tail = (self.tail + length) % self.size
            data = data[length:]
        return pieces


# ------------------------------------------------------------------ page tables


class Round:
    """`before`: what the guest writes before the doorbell. `packets`; with `error` the last of them stops
    the ring. `effects`: what they have done, [(page, value)]. `after`: what the guest writes then.

    What is written: (page, index, value) is a word, (page, None, value) all words of a page, and
    ("map", page, address) and ("unmap", page, address) what they say."""

    def __init__(self, before):
        self.before, self.packets, self.effects, self.after = before, [], [], []
        self.error = None  # (code, address)
        self.read = set()  # pages that are copied from
        self.used = set()  # all pages that have to do with it, tables too


class Tables:
    """Pages of `tables` are tables at first, those of `data` are not; `addresses`: {page: address}."""

    def __init__(self, seed, tables, data, addresses):
        self.random = random.Random(seed)
        self.addresses = {page: [address] for page, address in addresses.items()}
        self.at = {address: page for page, address in addresses.items()}
        self.content = {page: 0 for page in data}
        self.roots = list(tables[:2])
        self.levels = {page: LEVELS if page in self.roots else 2 if n < 6 else 1 for n, page in enumerate(tables)}
        self.entries = {page: [0] * 512 for page in tables}
        self.writes = []
        for _ in range(150):
            self.change()

    # ---- what the tables say

    def walk(self, root, address):
        """The entry for a virtual address, or 0."""
        table = root
        for level in range(LEVELS, 0, -1):
            entry = self.entries[table][address >> 12 + 9 * (level - 1) & 511]
            if not entry & VALID:
                return 0
            if level > 1:
                table = self.at[entry & -PAGE]
        return entry

    def page_of(self, entry):
        return self.at[entry & -PAGE]

    def path(self, root, address):
        """The tables that a walk goes through, as far as it comes."""
        pages = [root]
        for level in range(LEVELS, 1, -1):
            entry = self.entries[pages[-1]][address >> 12 + 9 * (level - 1) & 511]
            if not entry & VALID:
                break
            pages.append(self.at[entry & -PAGE])
        return pages

    def virtual(self, root):
        """All addresses in play: {address: its entry}."""
        found = {}
        for top in SLOTS[3]:
            for middle in SLOTS[2]:
                for leaf in SLOTS[1]:
                    address = top << 30 | middle << 21 | leaf << 12
                    found[address] = self.walk(root, address)
        return found

    def _children(self, table):
        return [self.at[entry & -PAGE] for entry in self.entries[table] if entry & VALID]

    def _reached(self, root):
        """The tables of a root, or None if one is in two places."""
        seen, left = set(), [root]
        while left:
            table = left.pop()
            if table in seen:
                return None
            seen.add(table)
            if self.levels[table] > 1:
                left += self._children(table)
        return seen

    def _is_tree(self, root):
        return self._reached(root) is not None

    # ---- changes

    def _set(self, table, index, value):
        self.entries[table][index] = value
        self.writes.append((table, index, value))

    def _address(self, page):
        return self.random.choice(self.addresses[page])

    def _tables(self, levels):
        return [page for page, level in self.levels.items() if level in levels]

    def _leaf(self):
        """An entry of level 1: a page to be written, one to be read, or none, whatever else it says."""
        entry = self._address(self.random.choice(list(self.content))) | GUEST
        return entry | self.random.choice([VALID | WRITABLE] * 4 + [VALID, WRITABLE])

    def change_leaf(self):
        self._set(self.random.choice(self._tables([1])), self.random.choice(SLOTS[1]), self._leaf())

    def change_link(self):
        """A table's entry above: to another table, or to none. What would make no tree is left."""
        above = self.random.choice(self._tables([2, 3]))
        index = self.random.choice(SLOTS[self.levels[above]])
        below = self.random.choice(self._tables([self.levels[above] - 1]))
        old = self.entries[above][index]
        entry = self._address(below) | GUEST | VALID if self.random.random() < 0.8 else 0
        self.entries[above][index] = entry
        if all(map(self._is_tree, self.roots)):
            self._set(above, index, entry)
        else:
            self.entries[above][index] = old

    def exchange(self):
        """Two entries of tables of one level change places."""
        level = self.random.choice([1, 2, 3])
        one, other = (self.random.choice(self._tables([level])) for _ in range(2))
        first, second = (self.random.choice(SLOTS[level]) for _ in range(2))
        a, b = self.entries[one][first], self.entries[other][second]
        self.entries[one][first], self.entries[other][second] = b, a
        if all(map(self._is_tree, self.roots)):
            self._set(one, first, b)
            self._set(other, second, a)
        else:
            self.entries[one][first], self.entries[other][second] = a, b

    def _forget(self, page):
        """No entry names the page any more."""
        for table, entries in self.entries.items():
            for index, entry in enumerate(entries):
                if entry and self.at.get(entry & -PAGE) == page:
                    self._set(table, index, 0)

    def convert(self):
        """A table becomes a data page, and a data page a table."""
        table = self.random.choice(self._tables([1]))
        page = self.random.choice(list(self.content))
        self._forget(table)
        self._forget(page)
        del self.entries[table], self.content[page], self.levels[table]
        self.content[table] = 0
        self.entries[page], self.levels[page] = [0] * 512, 1
        self.writes += [(table, None, 0), (page, None, 0)]
        for index in SLOTS[1]:
            self._set(page, index, self._leaf())

    def change(self):
        kind = self.random.random()
        if kind < 0.55:
            self.change_leaf()
        elif kind < 0.85:
            self.change_link()
        elif kind < 0.97:
            self.exchange()
        else:
            self.convert()

    # ---- addresses that change

    def move(self, page, new):
        """The page has another address, and what names it by the old one follows."""
        old = self._address(page)
        self.addresses[page].remove(old)
        self.addresses[page].append(new)
        del self.at[old]
        self.at[new] = page
        self.writes += [("unmap", page, old), ("map", page, new)]
        for table, entries in self.entries.items():
            for index, entry in enumerate(entries):
                if entry and entry & -PAGE == old:
                    self._set(table, index, new | entry & PAGE - 1)

    def alias(self, page, new):
        """One more address for it."""
        self.addresses[page].append(new)
        self.at[new] = page
        self.writes.append(("map", page, new))

    # ---- rounds

    def _runs(self, found, usable):
        """(address, pages): neighbours that can all be used so."""
        runs = []
        for address, entry in found.items():
            count = 0
            while usable(found.get(address + count * PAGE, 0)):
                count += 1
            if count:
                runs.append((address, self.random.randint(1, count)))
        return runs

    def _packet(self, found, stamp, made):
        """A FILL, or a COPY, of a run of pages, if the tables have one."""
        targets = self._runs(found, lambda entry: entry & (VALID | WRITABLE) == VALID | WRITABLE)
        if not targets:
            return b""
        to, pages = self.random.choice(targets)
        written = [self.page_of(found[to + n * PAGE]) for n in range(pages)]
        sources = [run for run in self._runs(found, lambda entry: entry & VALID) if run[1] == pages]
        source = self.random.choice(sources)[0] if sources and self.random.random() < 0.4 else None
        read = [self.page_of(found[source + n * PAGE]) for n in range(pages)] if source is not None else []
        # Each page once, so that the order within a packet does not matter.
        if read and len({*written, *read}) == 2 * pages:
            now = self.content | dict(made.effects)
            made.effects += [(page, now[origin]) for page, origin in zip(written, read)]
            made.read |= set(read)
            return copy(to, source, pages)
        made.effects += [(page, stamp << 32 | stamp) for page in written]
        return fill(to, stamp, pages)

    def _batch(self, found, made, data):
        """The packets in a page that they have nothing to do with, if there is one. Else themselves."""
        busy = {page for page, _ in made.effects} | made.read
        places = [address for address, entry in found.items() if entry & VALID and self.page_of(entry) not in busy]
        if not places or not data:
            return data
        address = self.random.choice(places)
        page = self.page_of(found[address])
        made.before += [(page, index, word) for index, word in enumerate(words(data))]
        made.after.append((page, None, 0))
        self.content[page] = 0
        return batch(address, len(data))

    def _faulty_packet(self, found, stamp):
        """One that must stop the ring, and its (code, address)."""
        missing = [(VIRT_UNMAPPED, address) for address, entry in found.items() if not entry & VALID]
        read_only = [(VIRT_PROTECTION, address) for address, entry in found.items() if entry & 3 == VALID]
        error = self.random.choice(read_only if read_only and self.random.random() < 0.5 else missing)
        return fill(error[1], stamp), error

    def take_writes(self):
        """What was written since the last time."""
        writes, self.writes = self.writes, []
        return writes

    def round(self, stamp):
        """One that uses the tables as they are now."""
        made = Round(self.take_writes())
        root = self.random.choice(self.roots)
        found = self.virtual(root)
        data = b"".join(self._packet(found, stamp + n, made) for n in range(self.random.randint(1, 5)))
        if self.random.random() < 0.3:
            data = self._batch(found, made, data)
        made.packets = [ppgtt(self._address(root)), data]
        if self.random.random() < 0.2:
            data, made.error = self._faulty_packet(found, stamp)
            made.packets.append(data)
        self.content |= dict(made.effects)
        made.used = self._reached(root) | made.read | {page for page, _ in made.effects}
        made.used |= {page for page, _, _ in made.after}
        return made
