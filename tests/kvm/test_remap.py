# SPDX-License-Identifier: BSD-3-Clause
"""
What the aperture shows changes while a vCPU spins on it, thousands of times.

One vCPU counts up what is at the aperture's start and says in two cells what can be seen there: @1 is
the least, @2 the most. The other reads all the time: each value must lie between them, and no value
is less than the one before. So a zero, a page of before, or anything else ends the VM. It stores what it
has seen in @4.
"""

import faultdev as fd
import pytest
from tinyvm import entry, invalidate, stats

SHOWN = 0  # the page that is watched
PAGES = ((10, 1), (11, 2))  # where page 1 and page 2 of object 0 are written

WATCH = "wait @3 1\nwatch 0 @1 @2 @4 {last}\n"


def prepare():
    script = "".join(entry(at, 0, page) for at, page in PAGES) + entry(SHOWN, 0, 1)
    return script + "write 0xa000 1\nset @0 1\nset @2 1\nset @1 1\nset @3 1\n"


def move(page):
    """The other page, with the next number on it, takes the place of the one that is shown."""
    at = dict((page, at) for at, page in PAGES)[page]
    script = f"add @0 1\nwrite {at * 4096:#x} @0\nset @2 @0\n"
    return script + entry(SHOWN, 0, page) + invalidate(SHOWN) + "set @1 @0\n"


def watched(lines):
    text = [line for line in lines if ": watch: " in line][0].split(": watch: ")[1].split()
    return int(text[0]), int(text[2])


def remap(server, start, rounds, options=()):
    writer = prepare() + f"repeat {rounds}\n" + move(2) + move(1) + "wait @4 @0\nend\nstats\n"
    lines = start(server.path, writer, WATCH.format(last=2 * rounds + 1), options=options).succeeds()
    reads, values = watched(lines)
    assert reads > rounds and values >= rounds
    # What was not touched in between is not taken back by a message.
    assert values - 1 <= stats(lines)["invalidated"] <= 2 * rounds
    assert stats(lines)["refused"] == 0


def test_remap_is_seen_at_once(server, start):
    remap(server, start, rounds=1500)


@pytest.mark.parametrize("guest", ["kvm"], indirect=True)
def test_remap_with_asynchronous_faults(server, start):
    """KVM fetches the pages in the background."""
    remap(server, start, rounds=500, options=["--async-faults"])


def test_invalidated_all_the_time(server, start):
    """The device's own thread takes the page back while it is read and written."""
    rounds = 2000
    writer = prepare() + f"reg-write {fd.FIRST:#x} 0\nrepeat {rounds}\nadd @0 1\nset @2 @0\n"
    writer += f"reg-write {fd.ROUNDS:#x} 1\nwrite 0 @0\nset @1 @0\nwait @4 @0\n"
    # Time for that thread, which two that spin may leave without a processor.
    writer += f"repeat 5\nreg-read {fd.DONE:#x} @5\nend\nend\nstats\n"
    lines = start(server.path, writer, WATCH.format(last=rounds + 1)).succeeds()
    assert watched(lines)[0] > rounds
    assert 0 < stats(lines)["invalidated"] <= rounds and stats(lines)["refused"] == 0


def test_discard_is_seen_at_once(server, start):
    """A hole is punched under a vCPU that spins on the page: zeros at once, and a page again."""
    rounds = 200
    spinner = f"repeat {rounds}\nadd @0 1\nwait @1 @0\nuntil 8 @1 0\nset @2 @0\nend\n"
    other = entry(0, 2, 9) + f"repeat {rounds}\nadd @3 1\nwrite 8 @3\nset @1 @3\n"
    other += f"reg-write {fd.DISCARD:#x} {2 << 8 | 9 << 16:#x}\nreg-expect {fd.RESULT:#x} 0\nwait @2 @3\nend\n"
    other += "expect 8 0\nstats\n"
    lines = start(server.path, other, spinner).succeeds()
    # No fault is needed: the file is mapped as it was.
    assert stats(lines)["faults"] <= 2 and stats(lines)["invalidated"] == 0


@pytest.mark.parametrize("extend", [0, 1])
def test_the_whole_region_is_taken_back(server, start, extend):
    """Every page that was mapped is another one afterwards, also where they were one mapping."""
    rounds = 20
    table = "set @0 0\nset @1 {first:#x}\nrepeat 64\n"
    table += f"reg-write {fd.INDEX:#x} @0\nreg-write {fd.ENTRY:#x} @1\nadd @0 1\nadd @1 0x10000\nend\n"
    table += invalidate(0, 255) + "set @0 0\nset @1 {value:#x}\nrepeat 64\nexpect @0 @1\n"
    table += f"add @0 4096\nadd @1 {1 << 32:#x}\nend\n"
    script = f"reg-write {fd.EXTEND:#x} {extend}\nrepeat {rounds}\n"
    for obj in (1, 2):
        script += table.format(first=fd.VALID | fd.WRITABLE | obj << 8, value=obj)
    lines = start(server.path, script + "end\nstats\n").succeeds()
    assert stats(lines)["faults"] == (2 * rounds if extend else 2 * rounds * 64)
    assert stats(lines)["invalidated"] >= 2 * rounds - 1
