# SPDX-License-Identifier: BSD-3-Clause
"""The vgpu's engine driven from inside a guest, on every machine and path that QEMU has for it."""

import re

import vgpu
from vm import bdf

ROUNDS = 12  # wraps the ring


def test_engine(start_device, start_vm):
    vm = start_vm([start_device("vgpu", *vgpu.SMALL)]).boot()
    vgpu.check(vm, rounds=ROUNDS)
    vm.power_off()


def test_engine_without_posted_writes(start_device, start_vm):
    """QEMU waits for the reply to every write."""
    vm = start_vm([start_device("vgpu", *vgpu.SMALL)], properties={"x-no-posted-writes": True}).boot()
    vgpu.check(vm, rounds=ROUNDS)
    vm.power_off()


def test_engine_on_microvm(start_device, start_vm):
    """No chipset but a PCIe host bridge: the guest's kernel alone says where BARs are."""
    vm = start_vm([start_device("vgpu", *vgpu.SMALL)], machine="microvm").boot()
    vgpu.check(vm, rounds=ROUNDS)
    vm.power_off()


def test_engine_under_a_virtual_iommu(start_device, start_vm):
    """The guest's vfio-pci gives the device to programs: scattered pages at IOVAs of their own, and
    interrupts through the kernel's handlers."""
    vm = start_vm([start_device("vgpu", *vgpu.SMALL)], machine="iommu", flavour="vfio").boot()
    node = f"/sys/bus/pci/devices/{bdf(0)}"
    vm.run(f"echo vfio-pci >{node}/driver_override && echo {bdf(0)} >/sys/bus/pci/drivers_probe")
    vgpu.check(vm, f"vfio:{bdf(0)}", ROUNDS)
    # The next program has a domain of its own. One interrupt a round: the kernel counts with us.
    traffic = vgpu.Traffic(vm, f"vfio:{bdf(0)}")
    before = kernel_interrupts(vm)
    assert before > 0
    traffic.wait_progress(10)
    assert kernel_interrupts(vm) >= before + 10
    traffic.stop()
    vgpu.check(vm, f"vfio:{bdf(0)}", ROUNDS)
    vm.power_off()


def kernel_interrupts(vm):
    """Those that the guest's kernel has handled for vector 0 of the device."""
    lines = vm.run("cat /proc/interrupts")
    count = re.search(r"^\s*\d+:\s+(\d+) .*vfio-msix\[0\]", lines, re.M)
    assert count, lines
    return int(count[1])
