# SPDX-License-Identifier: BSD-3-Clause
"""Serial cards under the guest's own driver, 8250_pci: bytes both ways through every port at once."""

import hashlib
import os
import re
import select
import time

from vm import bdf

BYTES = 64 << 10  # each way through each port
DEADLINE = 300  # every byte is a handful of traps, and other guests run beside this one

# The console is ttyS0; room for the others.
MORE_PORTS = "8250.nr_uarts=8"


class Line:
    """The host's end of a port, and what has gone through it."""

    def __init__(self, link):
        self.fd = os.open(link, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        self.to_send = self.all_sent = os.urandom(BYTES)
        self.received = b""

    def events(self):
        return (select.POLLIN if len(self.received) < BYTES else 0) | (select.POLLOUT if self.to_send else 0)

    def move(self, events):
        if events & select.POLLOUT:
            self.to_send = self.to_send[os.write(self.fd, self.to_send[:4096]) :]
        if events & select.POLLIN:
            self.received += os.read(self.fd, 4096)

    def close(self):
        os.close(self.fd)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def exchange(lines):
    """Move bytes until all lines have sent and received all of theirs."""
    deadline = time.monotonic() + DEADLINE
    by_fd = {line.fd: line for line in lines}
    while any(line.events() for line in lines):
        poll = select.poll()
        for line in lines:
            if line.events():
                poll.register(line.fd, line.events())
        for fd, events in poll.poll(1000):
            by_fd[fd].move(events)
        state = [(len(line.received), len(line.to_send)) for line in lines]
        assert time.monotonic() < deadline, f"received, to send: {state}"


def tty_names(vm, number):
    """The guest's names of the ports of our device `number`."""
    found = vm.run(f"find /sys/bus/pci/devices/{bdf(number)}/ -name 'ttyS*'").split()
    return sorted(path.rpartition("/")[2] for path in found)


def interrupts(vm, number, kind):
    """How many interrupts of the kind (a part of /proc/interrupts' line) its ports have had."""
    irq = vm.run(f"cat /sys/class/tty/{tty_names(vm, number)[0]}/irq")
    lines = vm.run("cat /proc/interrupts")
    found = re.search(rf"^\s*{irq}:\s+(\d+)\s+.*{kind}", lines, re.M)
    assert found, f"no {kind} interrupt {irq}:\n{lines}"
    return int(found[1])


def check_exchange(vm, links, kind, devices):
    names = [name for number in range(devices) for name in tty_names(vm, number)]
    assert len(names) == len(links), names
    vm.run(f"serial-exchange {BYTES} {' '.join(names)} >/tmp/exchange 2>&1 &")
    vm.run("until grep -qs ready /tmp/exchange; do sleep 0.1; done")
    lines = [Line(link) for link in links]
    try:
        exchange(lines)
        assert all(interrupts(vm, number, kind) > 0 for number in range(devices))
        vm.run(f"until [ $(wc -l </tmp/exchange) = {1 + len(names)} ]; do sleep 0.1; done")
        report = vm.run("cat /tmp/exchange").splitlines()
        sums = [(name, sha256(line.received), sha256(line.all_sent)) for name, line in zip(names, lines)]
        assert report == ["ready", *map(" ".join, sums)]
    finally:
        for line in lines:
            line.close()


def test_two_ports_with_intx(start_device, start_vm, tmp_path):
    """One card, a level interrupt that both ports share, I/O ports."""
    card = start_device("tty", "tty-2", f"link={tmp_path}/port")
    vm = start_vm([card], append=MORE_PORTS).boot()
    check_exchange(vm, [tmp_path / "port0", tmp_path / "port1"], "IO-APIC", 1)
    vm.power_off()


def test_two_cards_with_msi(start_device, start_vm, tmp_path):
    """A port each, behind memory BARs: QEMU does not wait for writes there."""
    cards = [start_device("tty", "tty-1", f"link={tmp_path}/card{n}-") for n in (0, 1)]
    vm = start_vm(cards, append=MORE_PORTS).boot()
    check_exchange(vm, [tmp_path / "card0-0", tmp_path / "card1-0"], "PCI-MSI", 2)
    vm.power_off()
