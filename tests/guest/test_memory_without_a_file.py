# SPDX-License-Identifier: BSD-3-Clause
"""A guest whose RAM is no file: what the device does with it goes by DMA_READ and DMA_WRITE."""

import umdev
from vm import bdf

DRIVER = umdev.BUILD_DIR / "tests/drivers/umdev-testdev.so"

# A piece of RAM that Linux leaves alone, so that /dev/mem may reach it.
RESERVED = 0x8000000
APPEND = f"memmap=64K${RESERVED:#x}"

COMMAND, MASTER = 4, 0x06
REG_RESULT, REG_DMA_GO, REG_DMA_SRC, REG_DMA_DST, REG_DMA_LEN = 0x10, 0x1C, 0x20, 0x28, 0x30
TO_BAR0, FROM_BAR0, ENGINE, ASYNC = 1, 2, 0x100, 0x200
IN_PROGRESS = 115
TEXT = "umdev reads what is no file."


def dma(vm, kind, how, address, length):
    """Let the device copy between the guest's memory and its BAR0, and wait for the end."""
    register = f"bar write {bdf(0)} 1"
    side = REG_DMA_SRC if kind == TO_BAR0 else REG_DMA_DST
    vm.run(f"{register} {side:#x} 8 {address:#x} && {register} {REG_DMA_LEN:#x} 4 {length}")
    vm.run(f"{register} {REG_DMA_GO:#x} 4 {kind | how:#x}")
    for _ in range(50):
        result = int(vm.run(f"bar read {bdf(0)} 1 {REG_RESULT:#x} 4"), 16)
        if result != IN_PROGRESS:
            return result
    raise AssertionError("the copy does not end")


def test_read_and_write(start_device, start_vm):
    vm = start_vm([start_device(DRIVER)], memory="memory-backend-ram", append=APPEND).boot()
    folder = f"/sys/bus/pci/devices/{bdf(0)}"
    vm.run(f"echo 1 >{folder}/enable")
    vm.run(f"printf '\\{MASTER:03o}' | dd of={folder}/config bs=1 seek={COMMAND} conv=notrunc 2>/dev/null")
    for n, how in enumerate((ENGINE, ASYNC)):
        there, back = RESERVED + 0x1000 * n, RESERVED + 0x8000 + 0x1000 * n
        vm.run(f"printf '{TEXT}{n}' | dd of=/dev/mem bs=1 seek={there} conv=notrunc 2>/dev/null")
        assert dma(vm, TO_BAR0, how, there, len(TEXT) + 1) == 0
        first = int.from_bytes(TEXT[:4].encode(), "little")
        assert int(vm.run(f"bar read {bdf(0)} 0 0 4"), 16) == first
        assert dma(vm, FROM_BAR0, how, back, len(TEXT) + 1) == 0
        assert vm.run(f"dd if=/dev/mem bs=1 skip={back} count={len(TEXT) + 1} 2>/dev/null; echo") == f"{TEXT}{n}"
    vm.power_off()
