# SPDX-License-Identifier: BSD-3-Clause
"""One side ends while the other works: the other lives on, and the device is there for the next."""

import time

import vgpu
from vm import TIMEOUT, bdf


def wait_free(device, before):
    """Wait until the device's process holds nothing of its client: `before` descriptors are left, and no
    mapping of a guest's memory."""
    deadline = time.monotonic() + TIMEOUT
    while len(device.descriptors()) > before or device.guest_mappings():
        left = f"{before} descriptors before, now {device.descriptors()}; {device.guest_mappings()} mappings"
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def check_with_a_new_vm(device, start_vm):
    vm = start_vm([device]).boot()
    vgpu.check(vm)
    vm.power_off()


def test_power_off_under_load(start_device, start_vm):
    device = start_device("vgpu", *vgpu.SMALL)
    before = len(device.descriptors())
    vm = start_vm([device]).boot()
    vgpu.Traffic(vm)
    assert device.guest_mappings()
    vm.power_off()
    wait_free(device, before)
    check_with_a_new_vm(device, start_vm)


def test_qemu_is_killed_in_mid_traffic(start_device, start_vm):
    device = start_device("vgpu", *vgpu.SMALL)
    before = len(device.descriptors())
    vm = start_vm([device]).boot()
    vgpu.Traffic(vm)
    vm.kill()
    wait_free(device, before)
    check_with_a_new_vm(device, start_vm)


def test_qemu_is_killed_in_mid_dma(start_device, start_vm):
    """The engine stops at once, and the next VM finds the device as new."""
    device = start_device("vgpu", *vgpu.SMALL)
    before = len(device.descriptors())
    vm = start_vm([device]).boot()
    vm.run(f"bar fill {bdf(0)} {vgpu.BAR_VRAM} 0x100000 4096 1")
    vgpu.LongWork(vm)
    vm.kill()
    wait_free(device, before)
    vm = start_vm([device]).boot()
    vm.run(f"echo 1 >/sys/bus/pci/devices/{bdf(0)}/enable")
    vm.run(f"bar check-zero {bdf(0)} {vgpu.BAR_VRAM} 0x100000 4096")
    vgpu.check(vm)
    vm.power_off()


def check_lives_without_its_device(vm):
    """The guest goes on; of the device it reads all ones, and what it writes is lost."""
    register = f"{bdf(0)} {vgpu.BAR_REGS} {vgpu.REG_SCRATCH} 4"
    assert vm.run(f"bar read {register}") == "0xffffffff"
    vm.run(f"bar write {register} 0x12345678")
    assert vm.run(f"bar read {register}") == "0xffffffff"
    # What was mapped stays mapped: QEMU holds the memory.
    vm.run(f"bar fill {bdf(0)} {vgpu.BAR_VRAM} 0x100000 1024 7")
    vm.run(f"bar check {bdf(0)} {vgpu.BAR_VRAM} 0x100000 1024 7")


def test_umdev_is_killed_in_mid_dma(start_device, start_vm):
    """QEMU and its guest live on. A new umdev takes a new VM.

    Not while a message is on its way: QEMU 11 aborts by itself (an assertion) when its server is killed
    with a request unread, as the kernel then tells it ECONNRESET and not the end of the stream."""
    device = start_device("vgpu", *vgpu.SMALL)
    vm = start_vm([device]).boot()
    vgpu.LongWork(vm)
    device.kill()
    check_lives_without_its_device(vm)
    vm.power_off()
    check_with_a_new_vm(start_device("vgpu", *vgpu.SMALL), start_vm)


def test_umdev_is_stopped_in_mid_traffic(start_device, start_vm):
    """SIGTERM: umdev ends well, and QEMU lives on whatever was on its way."""
    device = start_device("vgpu", *vgpu.SMALL)
    vm = start_vm([device]).boot()
    vgpu.Traffic(vm)
    device.stop()
    check_lives_without_its_device(vm)
    vm.power_off()
