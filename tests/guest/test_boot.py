# SPDX-License-Identifier: BSD-3-Clause
"""A guest finds the device, and its BARs are the driver's memory."""

import re
import struct

import vgpu
from vm import bdf


def test_lspci_shows_the_device(start_device, start_vm):
    vm = start_vm([start_device("vgpu", *vgpu.SMALL)]).boot()
    listing = vm.run(f"lspci -vv -n -s {bdf(0)}")
    assert "0380: 1234:1111" in listing.splitlines()[0]
    assert re.search(r"Region 0: Memory at \w+ \(64-bit, prefetchable\) .*\[size=16M\]", listing), listing
    assert re.search(r"Region 2: Memory at \w+ \(32-bit, non-prefetchable\) .*\[size=64K\]", listing), listing
    assert "Capabilities: [40] Power Management" in listing
    assert "MSI-X: Enable- Count=2 Masked-" in listing
    vm.power_off()


def test_bar0_is_the_device_memory(start_device, start_vm):
    """What the guest writes, the driver's process has in its VRAM; what is elsewhere stays zero."""
    device = start_device("vgpu", *vgpu.SMALL)
    vm = start_vm([device]).boot()
    vm.run(f"echo 1 >/sys/bus/pci/devices/{bdf(0)}/enable")
    count, seed, offset = 4096, 0x1234567, 0x300000
    vm.run(f"bar fill {bdf(0)} 0 {offset} {count} {seed}")
    with device.memory_object("vram") as vram:
        vram.seek(offset - 4096)
        data = vram.read(4096 + 4 * count + 4096)
    words = struct.unpack(f"<{count}I", data[4096:-4096])
    assert list(words) == [(seed + i * 0x9E3779B1) & 0xFFFFFFFF for i in range(count)]
    assert data[:4096] == bytes(4096) and data[-4096:] == bytes(4096)
    vm.run(f"bar check {bdf(0)} 0 {offset} {count} {seed}")
    # The very last word of the BAR.
    vm.run(f"bar write {bdf(0)} 0 {vgpu.SMALL_VRAM - 4} 4 0xa5a5a5a5")
    assert vm.run(f"bar read {bdf(0)} 0 {vgpu.SMALL_VRAM - 4} 4") == "0xa5a5a5a5"
    vm.power_off()


def test_registers_by_every_width(start_device, start_vm):
    vm = start_vm([start_device("vgpu", *vgpu.SMALL)]).boot()
    vm.run(f"echo 1 >/sys/bus/pci/devices/{bdf(0)}/enable")
    name, register = f"{bdf(0)} {vgpu.BAR_REGS}", vgpu.REG_SCRATCH
    assert vm.run(f"bar read {name} {vgpu.REG_ID} 4") == hex(vgpu.ID)
    vm.run(f"bar write {name} {register} 4 0x11223344")
    assert vm.run(f"bar read {name} {register} 4") == "0x11223344"
    vm.power_off()
