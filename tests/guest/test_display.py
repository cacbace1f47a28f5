# SPDX-License-Identifier: BSD-3-Clause
"""The guest's console on the vgpu: the kernel takes the mode that the display prefers, /dev/fb0 is what
`umdev screenshot` gets, and the text on it can be read."""

import subprocess
import time

import png
import pytest
from umdev import TIMEOUT, UMDEV

GLYPH = (8, 16)  # of the kernel's font
PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
HIDE_CURSOR = r"\033[?25l"
CLEAR = r"\033[2J\033[H"


class Screen:
    """A screenshot taken now."""

    def __init__(self, control, file):
        command = [UMDEV, "screenshot", "--control", control, file]
        subprocess.run(command, stdin=subprocess.DEVNULL, check=True, timeout=TIMEOUT)
        self.width, self.height, self.pixels = png.read(file)

    def cell(self, column, line):
        """The pixels of a character."""
        width, height = GLYPH
        starts = [((line * height + y) * self.width + column * width) * 3 for y in range(height)]
        return b"".join(self.pixels[start : start + width * 3] for start in starts)

    def glyphs(self):
        """{pixels: character}, from the first line of the screen."""
        return {self.cell(column, 0): char for column, char in enumerate(PRINTABLE + " ")}

    def read_text(self, count):
        """The lines behind the first."""
        glyphs, columns = self.glyphs(), range(self.width // GLYPH[0])
        lines = [[self.cell(column, line) for column in columns] for line in range(1, count + 1)]
        return ["".join(glyphs.get(cell, "\ufffd") for cell in line).rstrip() for line in lines]


def wait_screen(control, file, condition):
    """The first screenshot that is as it should be, or the last that was taken before the deadline."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        screen = Screen(control, file)
        if condition(screen) or time.monotonic() > deadline:
            return screen
        time.sleep(0.1)


def boot(start_device, start_vm, tmp_path, width, height):
    control = tmp_path / "control"
    words = ("vgpu-8", "vram=16M", f"xres={width}", f"yres={height}", "--control", control)
    vm = start_vm([start_device("vgpu", *words)], flavour="bochs").boot()
    # The kernel's console takes the screen with its first output, by and by, and clears it.
    vm.run(f"printf '{HIDE_CURSOR}' >/dev/tty1")
    vm.run("until grep -q 1 /sys/class/vtconsole/vtcon1/bind; do sleep 0.1; done")
    return vm, control


@pytest.mark.parametrize("width,height", [(1024, 768), (1280, 720), (1366, 600)])
def test_framebuffer(start_device, start_vm, tmp_path, width, height):
    """The preferred mode, an odd one too; what is written to /dev/fb0 is on the screen."""
    vm, control = boot(start_device, start_vm, tmp_path, width, height)
    assert vm.run("cat /sys/class/graphics/fb0/virtual_size") == f"{width},{height}"
    stride = int(vm.run("cat /sys/class/graphics/fb0/stride"))
    size = stride * height
    # Several rows at once: Linux 6.1 loses sight of a write inside of one row that ends with it.
    vm.run(f"seq 1 700000 | dd of=/dev/fb0 bs={8 * stride} count={height // 8} iflag=fullblock")
    data = "".join(f"{n}\n" for n in range(1, 700001)).encode()[:size]
    rows = [data[y * stride :][: width * 4] for y in range(height)]
    expected = bytes(row[x + part] for row in rows for x in range(0, width * 4, 4) for part in (2, 1, 0))
    # The kernel copies from a buffer of its own, by and by.
    screen = wait_screen(control, tmp_path / "screen.png", lambda screen: screen.pixels == expected)
    assert (screen.width, screen.height) == (width, height)
    assert screen.pixels == expected
    vm.power_off()


def test_text_console(start_device, start_vm, tmp_path):
    """A line of every character teaches the glyphs, the other lines are read with them."""
    vm, control = boot(start_device, start_vm, tmp_path, 1024, 768)
    vm.run("dmesg | head -n 40 | cut -c 1-120 >/tmp/text")
    teach = PRINTABLE.replace("\\", "\\\\").replace("'", "'\"'\"'").replace("%", "%%")
    vm.run(f"printf '{CLEAR}{teach}\\n' >/dev/tty1; cat /tmp/text >/dev/tty1")
    text = [line.rstrip() for line in vm.run("cat /tmp/text").splitlines()]
    assert len(text) == 40 and any("Linux version" in line for line in text)
    screen = wait_screen(control, tmp_path / "console.png", lambda screen: screen.read_text(40) == text)
    assert len(screen.glyphs()) == len(PRINTABLE) + 1, "characters that look the same"
    assert screen.read_text(40) == text
    vm.power_off()
