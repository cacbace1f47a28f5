# SPDX-License-Identifier: BSD-3-Clause
"""Several devices in one guest, from the start and plugged in later."""

import vgpu
from vm import bdf, qemu_device

# The firmware gives a port as much address space as it is told to: room for BAR 0.
PORT = ["-device", "pcie-root-port,id=root-port,slot=1,addr=2.0,pref64-reserve=64M"]
PLUGGED = "0000:01:00.0"


def test_three_devices(start_device, start_vm):
    """Each from a process of its own, all working at once."""
    devices = [start_device("vgpu", *vgpu.SMALL) for _ in range(3)]
    vm = start_vm(devices).boot()
    assert vm.run(f"lspci -n -d {vgpu.PCI_ID}").count("\n") == 2
    traffic = vgpu.Traffic(vm, bdf(2))
    rounds = 6
    both = " & ".join(f"vgpu-guest check {bdf(n)} {rounds} >/tmp/check{n} 2>&1" for n in (0, 1))
    vm.run(f"{both}; wait", timeout=120)
    for n in (0, 1):
        assert vm.run(f"tail -n 1 /tmp/check{n}") == vgpu.expected(rounds), vm.run(f"cat /tmp/check{n}")
    traffic.wait_progress()
    vm.power_off()


def test_devices_have_their_own_memory(start_device, start_vm):
    devices = [start_device("vgpu", *vgpu.SMALL) for _ in range(2)]
    vm = start_vm(devices).boot()
    for n in (0, 1):
        vm.run(f"echo 1 >/sys/bus/pci/devices/{bdf(n)}/enable")
        vm.run(f"bar fill {bdf(n)} 0 0 1024 {1000 + n}")
    for n in (0, 1):
        vm.run(f"bar check {bdf(n)} 0 0 1024 {1000 + n}")
    vm.power_off()


def test_hot_plug(start_device, start_vm):
    """Into a root port of a guest that is busy with another device."""
    vm = start_vm([start_device("vgpu", *vgpu.SMALL)], extra=PORT).boot()
    traffic = vgpu.Traffic(vm)
    plugged = start_device("vgpu", *vgpu.SMALL)
    vm.qmp.execute("device_add", id="plugged", bus="root-port", **qemu_device(plugged))
    # The guest's kernel finds it by itself, in its own time; the BARs' files come last.
    vm.run(f"until [ -e /sys/bus/pci/devices/{PLUGGED}/resource{vgpu.BAR_REGS} ]; do sleep 0.1; done")
    vgpu.check(vm, PLUGGED)
    traffic.wait_progress()
    vm.power_off()


def test_a_busy_device_is_refused(start_device, start_vm):
    """A device that has its client tells a second QEMU so at once; the first goes on."""
    device = start_device("vgpu", *vgpu.SMALL)
    vm = start_vm([device]).boot()
    traffic = vgpu.Traffic(vm)
    second = start_vm([device])
    assert second.wait_end() != 0
    assert "busy" in second.log().lower(), second.log()
    traffic.wait_progress()
    vm.power_off()
