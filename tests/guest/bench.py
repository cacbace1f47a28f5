#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""
What umdev's devices cost a real guest, under stock QEMU without KVM:

  boot.three-devices   from QEMU's start to the guest's shell, beside the same without devices
  trap.guest-read4     a 4-byte read of a register, by a program in the guest, beside the same of a
                       device that QEMU emulates in its own process (edu)

Each round measures both sides, one after the other; the ratio is the median of the rounds'. As
umdev-bench does, it prints a table and writes JSON.
"""

import argparse
import contextlib
import json
import statistics
import time

import images
import umdev
import vgpu
from vm import Vm, bdf

DEVICES = 3
EDU_SLOT = 0x1E
EDU_BDF = f"0000:00:{EDU_SLOT:02x}.0"
EDU = ["-device", f"edu,addr={EDU_SLOT:x}.0"]
EDU_ID, EDU_ID_VALUE = 0x00, "0x10000ed"
READS = 20000


@contextlib.contextmanager
def vgpus(count):
    devices = []
    try:
        for _ in range(count):
            devices.append(umdev.Device("vgpu", *vgpu.SMALL))
        yield devices
        for device in devices:
            device.check()
    finally:
        for device in devices:
            device.clean()


@contextlib.contextmanager
def machine(*args, **options):
    """A Vm; its process and its folder are gone in the end."""
    vm = Vm(*args, **options)
    try:
        yield vm
    finally:
        vm.kill()
        vm.folder.cleanup()


def boot_seconds(devices):
    start = time.monotonic()
    with machine(devices) as vm:
        vm.boot()
        seconds = time.monotonic() - start
        assert vm.run(f"lspci -n -d {vgpu.PCI_ID} | wc -l").strip() == str(len(devices))
        vm.power_off()
    return seconds


def measure_boot(rounds):
    """[(seconds with three devices, seconds without)]"""
    boot_seconds([])  # files that are not in the page cache yet
    samples = []
    for _ in range(rounds):
        with vgpus(DEVICES) as devices:
            samples.append((boot_seconds(devices), boot_seconds([])))
    return samples


def read_ns(vm, name, bar, register):
    return float(vm.run(f"bar time {name} {bar} {register} {READS}"))


def measure_trap(rounds):
    """[(ns of our register, ns of edu's)], all in one guest."""
    with vgpus(1) as devices, machine(devices, extra=EDU) as vm:
        vm.boot()
        for name in (bdf(0), EDU_BDF):
            vm.run(f"echo 1 >/sys/bus/pci/devices/{name}/enable")
        assert vm.run(f"bar read {bdf(0)} {vgpu.BAR_REGS} {vgpu.REG_ID} 4") == hex(vgpu.ID)
        assert vm.run(f"bar read {EDU_BDF} 0 {EDU_ID} 4") == EDU_ID_VALUE
        samples = []
        for _ in range(rounds + 1):
            ours = read_ns(vm, bdf(0), vgpu.BAR_REGS, vgpu.REG_ID)
            samples.append((ours, read_ns(vm, EDU_BDF, 0, EDU_ID)))
        vm.power_off()
    return samples[1:]  # the first translates the guest's code


ROWS = [
    ("boot.three-devices", "boot to a shell with three devices / with none", "s", 2, measure_boot),
    ("trap.guest-read4", "a register read by a guest's program / of a device in QEMU", "ns", 0, measure_trap),
]


def result(name, what, unit, samples):
    ours, floor = zip(*samples)
    return {
        "name": name,
        "what": what,
        "unit": unit,
        "ours": statistics.median(ours),
        "p99": max(ours),
        "floor": statistics.median(floor),
        "ratio": statistics.median(a / b for a, b in samples),
        "peer": None,
        "runs": len(samples),
    }


def print_row(row, digits):
    cells = "".join(f"{row[key]:10.{digits}f}" for key in ("ours", "p99", "floor"))
    print(f"{row['name']:28} {row['unit']:5}{cells}{row['ratio']:8.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description="Measure what umdev's devices cost a guest.")
    parser.add_argument("--output", metavar="FILE", help="write JSON there, too")
    parser.add_argument("--rounds", type=int, default=5, help="of each row (5)")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="only these rows")
    args = parser.parse_args()
    known = [row[0] for row in ROWS]
    for name in args.rows:
        if name not in known:
            parser.error(f"no row '{name}'; there are {', '.join(known)}")
    if args.rounds < 1:
        parser.error(f"--rounds {args.rounds}: at least 1, please")

    images.qemu(), images.kernel("cloud"), images.initramfs("cloud")  # not on the clock
    results = []
    print(f"{'row':28} {'unit':5}{'ours':>10}{'worst':>10}{'floor':>10}{'ratio':>8}")
    for name, what, unit, digits, measure in ROWS:
        if not args.rows or name in args.rows:
            results.append(result(name, what, unit, measure(args.rounds)))
            print_row(results[-1], digits)
    if args.output:
        with open(args.output, "w") as out:
            json.dump(results, out, indent=1)


if __name__ == "__main__":
    main()
