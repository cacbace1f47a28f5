# SPDX-License-Identifier: BSD-3-Clause
"""The vgpu's display under the guest's own driver, bochs.ko: modes are set, and `umdev screenshot`
gets what a program drew, pixel for pixel."""

import subprocess

import png
import vgpu
from umdev import TIMEOUT, UMDEV
from vm import bdf

MODES = [(800, 600), (1024, 768)]


def pattern(width, height, seed):
    """kms-pattern's picture, as RGB bytes."""
    reds = [(7 * x + seed) & 0xFF for x in range(width)]
    picture = bytearray()
    for y in range(height):
        green = (5 * y + 3 * seed) & 0xFF
        for x in range(width):
            picture += bytes((reds[x], green, ((x ^ y) + seed) & 0xFF))
    return bytes(picture)


def screenshot(control, path):
    """(exit code, what the command said)."""
    result = subprocess.run(
        [UMDEV, "screenshot", "--control", control, path],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT,
    )
    return result.returncode, result.stdout


def show(vm, width, height, seed):
    """Set a mode in the guest and draw the pattern; the program that did it stays."""
    vm.run("while killall kms-pattern 2>/dev/null; do sleep 0.05; done; : >/tmp/kms")
    vm.run(f"kms-pattern {width} {height} {seed} >/tmp/kms 2>&1 &")
    vm.run("until [ -s /tmp/kms ]; do sleep 0.1; done")
    assert vm.run("cat /tmp/kms") == "shown"


def test_modes_and_pixels(start_device, start_vm, tmp_path):
    control, file = tmp_path / "control", tmp_path / "screen.png"
    vm = start_vm([start_device("vgpu", *vgpu.SMALL, "--control", control)], flavour="bochs").boot()
    assert vm.run(f"basename $(readlink /sys/bus/pci/devices/{bdf(0)}/driver)") == "bochs-drm"
    for seed, (width, height) in enumerate(MODES, 1):
        show(vm, width, height, seed)
        assert screenshot(control, file) == (0, "")
        got = png.read(file)
        assert got[:2] == (width, height)
        assert got[2] == pattern(width, height, seed)
    vm.power_off()


def test_the_screen_goes_off_with_a_reset(start_device, start_vm, tmp_path):
    """Until the guest's driver is back."""
    control, file = tmp_path / "control", tmp_path / "screen.png"
    vm = start_vm([start_device("vgpu", *vgpu.SMALL, "--control", control)], flavour="bochs").boot()
    show(vm, *MODES[0], 1)
    vm.qmp.execute("stop")
    vm.qmp.execute("system_reset")
    code, text = screenshot(control, file)
    assert code == 1 and "off" in text, text
    assert not file.exists()
    vm.qmp.execute("cont")
    vm.boot()
    show(vm, *MODES[0], 2)
    assert screenshot(control, file) == (0, "")
    assert png.read(file) == (*MODES[0], pattern(*MODES[0], 2))
    vm.power_off()
