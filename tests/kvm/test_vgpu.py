# SPDX-License-Identifier: BSD-3-Clause
"""The vgpu's aperture under a guest that rewrites its page table, by docs/vgpu.md."""

import pytest
from test_remap import watched
from tinyvm import PAGE, stats

OPTIONS = ["--registers", "2"]
VALID, WRITABLE = 1, 2
FAULTS, REFUSED, WINDOW = 0x10D0, 0x10D8, 0x8000


def put(index, page, bits=VALID | WRITABLE):
    """Entry `index` shows that page of the VRAM. The upper half of an entry is 0 as it is."""
    return f"reg-write {WINDOW + 8 * index:#x} {page * PAGE | bits:#x}\n"


def test_touch(vgpu, start):
    """Neighbours that continue each other come with one answer."""
    script = "".join(put(n, 16 + n) for n in range(32)) + put(100, 20) + "write 0x4008 77\n"
    script += f"expect {100 * PAGE + 8:#x} 77\nexpect 0x1f000 0\nreg-expect {FAULTS:#x} 2\nstats\n"
    lines = start(vgpu.path, script, options=OPTIONS).succeeds()
    assert stats(lines) == dict(faults=2, refused=0, invalidated=0, evicted=0, maps=2)


@pytest.mark.parametrize("script, where", [
    ("read 0x5000\n", "1: read: region 4, offset 0x5000"),
    (put(5, 9, VALID) + "expect 0x5000 0\nwrite 0x5010 1\n", "3: write: region 4, offset 0x5000"),
    (put(5, 9) + "write 0x5010 1\n" + put(5, 9, 0) + "read 0x5010\n", "4: read: region 4, offset 0x5000"),
])
def test_refused(vgpu, start, script, where):
    start(vgpu.path, script, options=OPTIONS).fails(f"cpu0:{where}: the device refuses the page")


def test_page_table_is_rewritten_under_a_spinning_guest(vgpu, start):
    """One vCPU counts up on one of two pages and shows it in the place of the other, by one write."""
    rounds = 1000
    script = put(10, 1) + put(11, 2) + put(0, 1) + "write 0xa000 1\nset @0 1\nset @2 1\nset @1 1\nset @3 1\n"
    script += f"repeat {rounds}\n"
    for at, page in ((11, 2), (10, 1)):
        script += f"add @0 1\nwrite {at * PAGE:#x} @0\nset @2 @0\n" + put(0, page) + "set @1 @0\n"
    script += "wait @4 @0\nend\nstats\n"
    spin = f"wait @3 1\nwatch 0 @1 @2 @4 {2 * rounds + 1}\n"
    lines = start(vgpu.path, script, spin, options=OPTIONS).succeeds()
    assert watched(lines)[1] >= rounds
    assert stats(lines)["refused"] == 0 and stats(lines)["invalidated"] >= rounds - 1
