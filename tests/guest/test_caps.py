# SPDX-License-Identifier: BSD-3-Clause
"""QEMU takes a device with regions of its own, and a BAR whose MSI-X table may be mapped over."""

import umdev
from vm import bdf

DRIVER = umdev.BUILD_DIR / "tests/drivers/umdev-capsdev.so"
TABLE = 0x1000


def test_capsdev(start_device, start_vm):
    vm = start_vm([start_device(DRIVER)]).boot()
    listing = vm.run(f"lspci -vv -n -s {bdf(0)}")
    assert "1b36:00c3" in listing
    assert "Vendor Specific Information: Len=08" in listing
    assert f"Vector table: BAR=0 offset={TABLE:08x}" in listing
    vm.run(f"echo 1 >/sys/bus/pci/devices/{bdf(0)}/enable")
    # Beside the table, in its page: memory. Inside it QEMU's own table answers: masked at first.
    vm.run(f"bar write {bdf(0)} 0 {TABLE + 0x800} 4 0x12345678")
    assert vm.run(f"bar read {bdf(0)} 0 {TABLE + 0x800} 4") == "0x12345678"
    assert vm.run(f"bar read {bdf(0)} 0 {TABLE + 12} 4") == "0x1"
    vm.power_off()
