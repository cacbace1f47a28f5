# SPDX-License-Identifier: BSD-3-Clause
"""System resets, of an idle and of a busy device."""

import vgpu
from vm import bdf

TIMES = 5  # of each kind


def test_ten_resets(start_device, start_vm):
    """In turn by the guest and by QEMU, always with a busy engine: afterwards the device is as new."""
    device = start_device("vgpu", *vgpu.SMALL)
    vm = start_vm([device]).boot()
    threads = device.threads()
    for _ in range(TIMES):
        vgpu.Traffic(vm)
        vm.send("reboot -f")
        check_new(vm)
        vgpu.Traffic(vm)
        vm.qmp.execute("system_reset")
        check_new(vm)
    assert device.threads() == threads
    vm.power_off()


def check_new(vm):
    """After a reset: VRAM and registers are empty, and it works."""
    vm.boot()
    name = f"{bdf(0)} {vgpu.BAR_REGS}"
    vm.run(f"echo 1 >/sys/bus/pci/devices/{bdf(0)}/enable")
    assert vm.run(f"bar read {name} {vgpu.REG_FENCE} 8") == "0x0"
    assert vm.run(f"bar read {name} {vgpu.REG_CONTROL} 4") == "0x0"
    vm.run(f"bar check-zero {bdf(0)} {vgpu.BAR_VRAM} 0x100000 4096")
    vgpu.check(vm, rounds=2)
