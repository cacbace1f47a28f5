# SPDX-License-Identifier: BSD-3-Clause
"""A guest's driver that maps and unmaps memory while a vgpu works by page tables in it, under a virtual IOMMU."""

import json
import re
import subprocess
import time

import pytest
import umdev
import vgpu
from vm import bdf

ROUNDS = 200


class Tables(vgpu.Traffic):
    """Rounds without end of page tables that change, and of memory whose IOVAs do."""

    COMMAND = "tables"

    def __init__(self, vm, name, seed):
        self.seed = seed
        super().__init__(vm, name)

    def arguments(self, name):
        return f"{name} {self.seed}"

    def check_end(self):
        """Stop it: in each of its rounds exactly the right pages were written."""
        self.stop()
        done = re.fullmatch(r"ok: (\d+) rounds, (\d+) moves at rest, (\d+) at work", self.last_line())
        assert done, self.vm.run(f"cat {self.path}")
        rounds, at_rest, at_work = map(int, done.groups())
        assert rounds >= ROUNDS and at_rest > rounds / 2 and at_work > rounds / 4


def show(control, *options):
    return subprocess.run(
        [umdev.UMDEV, "show", *options, "--control", control], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, check=True, text=True, timeout=umdev.TIMEOUT,
    ).stdout


def check_compared(control):
    """All pages that are tracked are compared. There are none for a moment when the top table has moved, and
    one that has just come is compared a moment later."""
    deadline = time.monotonic() + umdev.TIMEOUT
    pages = compared = 0
    while pages < 4 or compared != pages:
        assert time.monotonic() < deadline
        stats = json.loads(show(control, "--json"))[0]["stats"]
        pages, compared = stats["tracked_pages"], stats["compared_pages"]
        assert stats["track_method"] == 0
    while not re.search(r"tracked +(\d+) pages for writes, by compare, to collect; \1 of them compared", show(control)):
        assert time.monotonic() < deadline


@pytest.mark.parametrize("seed", [1, 2])
def test_page_tables_under_a_virtual_iommu(start_device, start_vm, tmp_path, seed):
    """QEMU has no userfaultfd to give: what is written is found by comparing."""
    control = tmp_path / "control"
    vm = start_vm([start_device("vgpu", *vgpu.SMALL, "--control", control)], machine="iommu", flavour="vfio").boot()
    node = f"/sys/bus/pci/devices/{bdf(0)}"
    vm.run(f"echo vfio-pci >{node}/driver_override && echo {bdf(0)} >/sys/bus/pci/drivers_probe")
    tables = Tables(vm, f"vfio:{bdf(0)}", seed)
    tables.wait_progress(ROUNDS)
    check_compared(control)
    tables.check_end()
    vm.power_off()
