# SPDX-License-Identifier: BSD-3-Clause
"""Pages come when the guest touches them, and not before."""

import faultdev as fd
from tinyvm import PAGE, entry, invalidate, number, result, show, stats

PAGES = [(0, 1, 5), (1, 2, 63), (2, 0, 0), (17, 1, 6), (255, 0, 1)]


def entries():
    return "".join(entry(*page) for page in PAGES)


def expect_all():
    return "".join(f"expect {page * PAGE:#x} {number(o, n):#x}\n" for page, o, n in PAGES)


def test_first_touch(server, start):
    script = entries() + expect_all() + "stats\n" + expect_all() + f"stats\nreg-read {fd.ASKED:#x}\n"
    lines = start(server.path, script).succeeds()
    assert stats(lines[:1])["faults"] == len(PAGES)
    assert stats(lines) == dict(faults=len(PAGES), refused=0, invalidated=0, evicted=0, maps=len(PAGES))
    assert lines[-1].endswith(f" {len(PAGES):#x}")
    assert show(server.control)["faults"] == len(PAGES)


def test_first_touch_by_a_write(server, start):
    script = entry(3, 0, 9) + "write 0x3008 0x1234\nexpect 0x3008 0x1234\n"
    script += entry(4, 0, 9) + f"expect 0x4008 0x1234\nexpect 0x4000 {number(0, 9):#x}\nstats\n"
    assert stats(start(server.path, script).succeeds())["faults"] == 2


def test_two_vcpus_touch_the_same_pages(server, start):
    first = entries() + "set @0 1\n" + expect_all() * 3 + "wait @1 1\nstats\n"
    lines = start(server.path, first, "wait @0 1\n" + expect_all() * 3 + "set @1 1\n").succeeds()
    assert len(PAGES) <= stats(lines)["faults"] <= 2 * len(PAGES)
    assert stats(lines)["refused"] == 0


def test_trapped_aperture_shows_the_same(server, start):
    """A client that maps nothing: each access is a message."""
    script = entries() + expect_all() + "write 0x1008 77\nexpect 0x1008 77\nstats\n"
    lines = start(server.path, script, options=["--no-fault", "--aperture", "2"]).succeeds()
    assert stats(lines)["faults"] == 0


def table_of_64():
    """Page n of the aperture is page n of object 1."""
    script = f"set @0 0\nset @1 {fd.VALID | fd.WRITABLE | 1 << 8:#x}\nrepeat 64\n"
    script += f"reg-write {fd.INDEX:#x} @0\nreg-write {fd.ENTRY:#x} @1\n"
    return script + "add @0 1\nadd @1 0x10000\nend\n"


def read_64():
    script = f"set @0 0\nset @1 {number(1, 0):#x}\nrepeat 64\n"
    return script + f"expect @0 @1\nadd @0 {PAGE}\nadd @1 {1 << 32:#x}\nend\n"


def test_prefault(server, start):
    script = table_of_64() + f"prefault 0 {64 * PAGE}\n" + read_64() + "stats\n"
    lines = start(server.path, script).succeeds()
    # None of the 64 touches had to wait; they are one mapping.
    assert stats(lines) == dict(faults=0, refused=0, invalidated=0, evicted=0, maps=1)
    assert show(server.control)["faults"] == 64


def test_prefault_with_one_answer(server, start):
    script = table_of_64() + f"reg-write {fd.EXTEND:#x} 1\nprefault 0 {64 * PAGE}\n" + read_64()
    lines = start(server.path, script + f"stats\nreg-read {fd.ASKED:#x}\n").succeeds()
    assert stats(lines)["faults"] == 0 and lines[-1].endswith(" 0x1")


def test_prefault_ends_at_what_is_refused(server, start):
    script = entry(0, 0, 0) + f"prefault 0 {2 * PAGE}\n"
    start(server.path, script).fails(r"cpu0:3: prefault: region 2, offset 0: Bad address$")


def test_a_write_asks_again(server, start):
    """A page that was given for reading only, and is writable by now."""
    script = entry(7, 2, 8, writable=False) + f"expect 0x7000 {number(2, 8):#x}\nreg-expect {fd.ASKED:#x} 1\n"
    script += entry(7, 2, 8) + f"write 0x7008 5\nexpect 0x7008 5\nreg-expect {fd.ASKED:#x} 2\nstats\n"
    lines = start(server.path, script).succeeds()
    assert stats(lines) == dict(faults=2, refused=0, invalidated=0, evicted=0, maps=1)


def test_a_read_only_page_that_moves(server, start):
    """The write that asks again is answered with another page than the reads."""
    script = entry(7, 2, 8, writable=False) + f"expect 0x7000 {number(2, 8):#x}\n"
    script += entry(7, 1, 3) + f"write 0x7008 5\nexpect 0x7000 {number(1, 3):#x}\nexpect 0x7008 5\n"
    script += entry(8, 2, 8) + "expect 0x8008 0\n"
    start(server.path, script).succeeds()


def test_taken_back_and_touched_again(server, start):
    script = entry(0, 0, 1) + f"expect 0 {number(0, 1):#x}\n"
    script += entry(0, 1, 2) + invalidate(0) + f"expect 0 {number(1, 2):#x}\nread 0\nstats\n"
    lines = start(server.path, script).succeeds()
    assert stats(lines)["faults"] == 2 and stats(lines)["invalidated"] == 1
    assert result(lines, 10, "read") == number(1, 2)
