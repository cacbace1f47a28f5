# SPDX-License-Identifier: BSD-3-Clause
"""Memory plugged into a guest and removed again, while devices work in it and beside it."""

import json
import subprocess

import vgpu
from umdev import TIMEOUT, UMDEV
from vm import bdf

EXTRA = ["-m", "slots=2,maxmem=1G"]
APPEND = "memhp_default_state=online_movable"
BLOCK = 128 << 20  # what Linux puts online and offline
MEMORY = "/sys/devices/system/memory"
HUGE_PAGES = "/proc/sys/vm/nr_hugepages"


class Dimm:
    """Memory that was plugged into a running machine. When the constructor returns, the guest uses it."""

    def __init__(self, vm, name, size):
        self.vm, self.name = vm, name
        backend = {"qom_type": "memory-backend-memfd", "id": f"mem-{name}", "size": size, "share": True}
        vm.qmp.execute("object-add", **backend)
        vm.qmp.execute("device_add", driver="pc-dimm", id=name, memdev=f"mem-{name}")
        self.first = next(
            dimm["data"]["addr"] for dimm in vm.qmp.execute("query-memory-devices")
            if dimm["data"]["id"] == name
        )
        self.last = self.first + size - 1
        self.blocks = [f"{MEMORY}/memory{n}" for n in range(self.first // BLOCK, self.last // BLOCK + 1)]
        for block in self.blocks:
            vm.run(f"until grep -qsx online {block}/state; do sleep 0.05; done")

    def place(self, number=0):
        """The device's name for a program that is to have its memory in here.

        The kernel takes movable pages from the movable zone first: this is to be all of it now. Just one
        page more, which will be the program's: it can't be moved out of here into another one in here."""
        self.vm.run(f"echo $(($(cat {HUGE_PAGES}) + 1)) >{HUGE_PAGES}")
        return f"{bdf(number)}@{self.first:#x}-{self.last:#x}"

    def set_offline(self):
        """The guest gives up its use."""
        for block in self.blocks:
            self.vm.run(f"echo offline >{block}/state")

    def unplug(self):
        """Ask the guest to let it go; the kernel sets it offline if it is not yet."""
        self.vm.qmp.execute("device_del", id=self.name)
        while self.vm.qmp.wait_event("DEVICE_DELETED")["data"].get("device") != self.name:
            pass
        self.vm.qmp.execute("object-del", id=f"mem-{self.name}")
        for block in self.blocks:
            self.vm.run(f"! [ -e {block} ]")


def show(control):
    """The numbers of `umdev show`."""
    command = [UMDEV, "show", "--control", control, "--json"]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=TIMEOUT).stdout
    return json.loads(output)[0]["stats"]


class Mappings:
    """What is mapped for the devices, beside what was there at the start."""

    def __init__(self, controls):
        self.controls = controls
        self.before = [show(control) for control in controls]

    def check(self, *dimms):
        """Nothing but these, and no request has failed."""
        sizes = [dimm.last + 1 - dimm.first for dimm in dimms]
        for before, now in zip(self.before, map(show, self.controls)):
            assert now["dma_maps"] == before["dma_maps"] + len(sizes), (before, now)
            assert now["dma_mapped_bytes"] == before["dma_mapped_bytes"] + sum(sizes), (before, now)
            assert now["errors"] == before["errors"], (before, now)


def ring_errors(vm, number):
    return int(vm.run(f"bar read {bdf(number)} {vgpu.BAR_REGS} {vgpu.REG_CNT_ERRORS:#x} 8"), 16)


def start(start_device, start_vm, tmp_path):
    """A machine with two devices that are on, and what is mapped for them."""
    controls = [tmp_path / f"control{n}" for n in range(2)]
    devices = [start_device("vgpu", *vgpu.SMALL, "--control", control) for control in controls]
    vm = start_vm(devices, extra=EXTRA, append=APPEND).boot()
    # From here on each one's BARs are mapped for the other.
    for n in range(2):
        vm.run(f"echo 1 >/sys/bus/pci/devices/{bdf(n)}/enable")
    return vm, Mappings(controls)


def test_memory_comes_and_goes(start_device, start_vm, tmp_path):
    """One device works beside it all the time, another one in each memory in turn. Nothing is lost."""
    vm, mappings = start(start_device, start_vm, tmp_path)
    beside = vgpu.Work(vm, bdf(0))
    for size, by_hand in ((BLOCK, True), (2 * BLOCK, False), (BLOCK, False)):
        dimm = Dimm(vm, "dimm", size)
        mappings.check(dimm)
        vgpu.Work(vm, dimm.place(1)).check_end()
        if by_hand:
            dimm.set_offline()
            beside.wait_progress(2)
        dimm.unplug()
        mappings.check()
        beside.wait_progress(2)
    beside.check_end()
    assert [ring_errors(vm, n) for n in range(2)] == [0, 0]
    vm.power_off()


def test_neighbouring_memory_goes(start_device, start_vm, tmp_path):
    """Two devices work in memory that was plugged in, while other memory beside it comes and goes."""
    vm, mappings = start(start_device, start_vm, tmp_path)
    below, above = Dimm(vm, "below", BLOCK), Dimm(vm, "above", BLOCK)
    mappings.check(below, above)
    below.unplug()
    works = [vgpu.Work(vm, above.place(n)) for n in range(2)]
    for _ in range(2):
        mappings.check(above)
        below = Dimm(vm, "below", BLOCK)
        assert below.last < above.first
        mappings.check(below, above)
        below.unplug()
    for work in works:
        work.wait_progress(2)
        work.check_end()
    above.unplug()
    mappings.check()
    assert [ring_errors(vm, n) for n in range(2)] == [0, 0]
    vm.power_off()


def test_memory_goes_under_a_busy_device(start_device, start_vm, tmp_path):
    """The guest takes memory away that a device still has the addresses of, and works in. That device
    gets its errors, and goes on after resets; the other one notices nothing."""
    vm, mappings = start(start_device, start_vm, tmp_path)
    beside = vgpu.Work(vm, bdf(0))
    dimm = Dimm(vm, "dimm", BLOCK)
    moved = vgpu.Moved(vm, dimm.place(1))
    dimm.unplug()
    mappings.check()
    moved.go_on()
    beside.check_end()
    assert [ring_errors(vm, n) for n in range(2)] == [0, vgpu.Moved.ERRORS]
    vgpu.check(vm, bdf(1))
    vm.power_off()
