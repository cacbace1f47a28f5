# SPDX-License-Identifier: BSD-3-Clause
"""Numbers of the vgpu that the tests need, and the guest's program that drives it."""

import functools
import re
import subprocess
import time

import images
from vm import bdf

PCI_ID = "1234:1111"
BAR_VRAM, BAR_REGS = 0, 2
REG_ID, REG_SCRATCH, REG_CONTROL, REG_FENCE = 0x1000, 0x1018, 0x101C, 0x1060
REG_CNT_ERRORS = 0x10B8
ID = 0x55504756

# Small, so that a test has its device at once; type vgpu-8 gets all of it.
SMALL = ("vgpu-8", "vram=16M")
SMALL_VRAM = 16 << 20


@functools.cache
def expected(rounds, errors=1):
    """What `vgpu-guest check` must end with: worked out here, by the reference alone. It provokes one
    error."""
    command = [images.program("vgpu-guest"), "expect", str(rounds), str(errors)]
    return subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.strip()


def check(vm, name=bdf(0), rounds=3):
    """Drive the device from inside the guest: it renders, interrupts arrive, the checksum holds."""
    output = vm.run(f"vgpu-guest check {name} {rounds}", timeout=120)
    assert output.splitlines()[-1] == expected(rounds), output


class Background:
    """A command of vgpu-guest in the guest's background, and what it last said."""

    def __init__(self, vm, command, name):
        self.vm = vm
        self.path = f"/tmp/{command}-{re.sub('[:@]', '-', name)}"
        # The file exists when the shell is back.
        self.pid = vm.run(f": >{self.path}; vgpu-guest {command} {self.arguments(name)} >{self.path} 2>&1 & echo $!")

    def arguments(self, name):
        """What the command is given."""
        return name

    def last_line(self):
        return self.vm.run(f"tail -n 1 {self.path}")

    def wait_until(self, condition):
        """Wait until the condition holds for its last line."""
        deadline = time.monotonic() + 60
        while not condition(self.last_line()):
            assert time.monotonic() < deadline, f"it said:\n{self.vm.run(f'cat {self.path}')}"
            time.sleep(0.05)

    def stop(self):
        self.vm.run(f"kill {self.pid}; while kill -0 {self.pid} 2>/dev/null; do sleep 0.05; done")


class Traffic(Background):
    """Work without end: a round is some packets and their DMA, an interrupt, and a few register accesses."""

    COMMAND = "traffic"

    def __init__(self, vm, name=bdf(0)):
        super().__init__(vm, self.COMMAND, name)
        self.wait_progress()

    @staticmethod
    def rounds(line):
        """How many are done by what was last said, −1 at the start."""
        return int(line.split()[1]) if line.startswith("round ") else -1

    def wait_progress(self, more=10):
        """Wait until it has done `more` rounds from now."""
        goal = max(0, self.rounds(self.last_line())) + more
        self.wait_until(lambda line: self.rounds(line) >= goal)


class Work(Traffic):
    """Rounds without end, each one rendered and compared."""

    COMMAND = "work"

    def check_end(self):
        """Stop it: all of its rounds were right, and no error came."""
        self.stop()
        line = self.last_line()
        rounds = re.match(r"ok: (\d+) rounds", line)
        assert rounds and line == expected(int(rounds[1]), errors=0), self.vm.run(f"cat {self.path}")


class LongWork(Background):
    """A device that is busy for a minute or more and writes to the guest's memory, with no message between
    it and QEMU."""

    def __init__(self, vm, name=bdf(0)):
        super().__init__(vm, "long", name)
        self.wait_until(lambda line: line == "begun")


class Moved(Background):
    """Work as LongWork, in memory that is about to leave the machine while it works: the guest's kernel
    moves its pages, the device keeps the old addresses."""

    ERRORS = 3

    def __init__(self, vm, name):
        super().__init__(vm, "moved", name)
        self.wait_until(lambda line: line == "begun")

    def go_on(self):
        """The memory is gone. Each way that still leads there ends with the device's error and a reset,
        and then all is well at the new addresses."""
        self.vm.run(f"kill -USR1 {self.pid}")
        self.wait_until(lambda line: line != "begun")
        assert self.last_line() == expected(3, self.ERRORS), self.vm.run(f"cat {self.path}")
