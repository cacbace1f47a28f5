# SPDX-License-Identifier: BSD-3-Clause
"""What can't be had ends the VM, with a message and at once, and nobody else's."""

import time

import faultdev as fd
import pytest
from tinyvm import entry, invalidate, no_entry, number, wait_for

SPIN = f"set @1 1\nuntil 0 {number(0, 1):#x} 1\n"


def start_when_free(start, path, *scripts, options=()):
    """A VM on a device whose client is being cleaned up after."""
    while True:
        vm = start(path, *scripts, options=options)
        first = vm.process.stdout.readline()
        if first or vm.process.wait() == 0:
            return vm
        assert "busy" in vm.process.stderr.read()
        time.sleep(0.02)


def test_refused_page(server, start):
    vm = start(server.path, entry(0, 0, 1) + f"expect 0 {number(0, 1):#x}\nread 0x3008\n")
    vm.fails(r"cpu0:4: read: region 2, offset 0x3000: the device refuses the page \((SIGBUS|Bad address)\)$")
    assert "Bad address" in server.stderr() or "EFAULT" in server.stderr()


def test_refused_write(server, start):
    vm = start(server.path, entry(0, 0, 1) + "write 0x5008 1\n")
    vm.fails(r"cpu0:3: write: region 2, offset 0x5000: the device refuses the page")


def test_refused_write_to_a_page_that_is_read(server, start):
    vm = start(server.path, entry(6, 0, 1, writable=False) + "read 0x6000\nwrite 0x6008 1\n")
    vm.fails(r"cpu0:4: write: region 2, offset 0x6000: the device refuses the page", timeout=20)


ASYNC = pytest.mark.parametrize("guest", ["kvm"], indirect=True)


@ASYNC
def test_refused_pages_with_asynchronous_faults(server, start):
    """KVM fetches pages in the background, as in VMMs that do nothing about it: KVM_RUN ends, too."""
    for script, line in (("read 0x3000\n", 1), ("write 0x3000 1\n", 1), (entry(3, 0, 1) + "read 0\nread 0x3000\n", 3)):
        vm = start_when_free(start, server.path, "report 1\n" + script, options=["--async-faults"])
        vm.fails(rf"cpu0:{line + 1}: .*: the device refuses the page", timeout=20)


@ASYNC
def test_read_only_page_with_asynchronous_faults(server, start):
    """A page that is there can be read, and a write to it that is refused ends KVM_RUN, too."""
    script = entry(6, 0, 1, writable=False) + f"prefault 0x6000 0x1000\nexpect 0x6000 {number(0, 1):#x}\nwrite 0x6008 1\n"
    vm = start(server.path, script, options=["--async-faults"])
    vm.fails(r"cpu0:5: write: region 2, offset 0x6000: the device refuses the page", timeout=20)


def test_trapped_access_is_refused(server, start):
    vm = start(server.path, "read 0x3008\n", options=["--no-fault", "--aperture", "2"])
    vm.fails(r"cpu0:1: read: region 2, offset 0x3008: Bad address$")


def test_the_other_vcpu_stops_too(server, start):
    spin = f"wait @0 1\nuntil 0 {number(0, 1):#x} 1\n"
    vm = start(server.path, entry(0, 0, 1) + "read 0\nset @0 1\nsleep 100\nread 0x4000\n", spin)
    vm.fails(r"cpu0:6: read: region 2, offset 0x4000: the device refuses")


def test_page_taken_away_for_good(server, start):
    """A vCPU spins on a page that is then nobody's."""
    other = entry(0, 0, 1) + "read 0\nset @0 1\nwait @1 1\nsleep 20\n" + no_entry(0) + invalidate(0) + "sleep 5000\n"
    vm = start(server.path, other, "wait @0 1\n" + SPIN)
    vm.fails(r"cpu1:3: until: region 2, offset 0: the device refuses the page")


def test_refused_page_is_nobody_elses_trouble(two_devices, start):
    """Two VMs on two devices of a parent: one ends, the other goes on meanwhile."""
    busy = entry(0, 0, 1) + entry(1, 0, 1) + "report 1\nrepeat 400\nread 0 @1\nadd @2 1\nwrite 0x1008 @2\n"
    busy += "expect 8 @2\n" + invalidate(0, 1) + "sleep 2\nend\nreport 2\n"
    other = start(two_devices.paths[1], busy)
    assert other.line().endswith("report: 0x1")
    for _ in range(3):
        start_when_free(start, two_devices.paths[0], "report 1\nread 0x3000\n").fails("offset 0x3000: the device refuses")
    assert other.process.poll() is None, "it ended too early to tell"
    assert other.succeeds()[-1].endswith("report: 0x2")


def test_server_killed_under_a_spinning_guest(server, start):
    vm = start(server.path, entry(0, 0, 1) + "report 1\n" + SPIN)
    vm.line()
    time.sleep(0.2)
    server.kill()
    vm.fails("the server is gone", timeout=20)


def test_server_killed_in_mid_fault(server, start):
    """A vCPU waits for a page whose answer never comes."""
    vm = start(server.path, entry(0, 0, 1) + f"reg-write {fd.DELAY:#x} 900\nreport 1\nread 0\nread 0\n")
    vm.line()
    time.sleep(0.3)
    server.kill()
    lines = vm.fails("the server is gone", timeout=20)
    assert not lines, "nothing was read"


def test_server_killed_in_mid_register(server, start):
    vm = start(server.path, "report 1\nrepeat 1000000\nreg-read 0 @0\nend\n")
    vm.line()
    server.kill()
    vm.fails("the server is gone", timeout=20)


@pytest.mark.parametrize("spinning", [False, True])
def test_vm_killed_in_mid_fault(server, start, spinning):
    """Its device is as new for the next one, round after round."""
    script = entry(0, 0, 1) + f"read 0\nreg-write {fd.DELAY:#x} 300\n" + entry(1, 0, 2) + "set @0 1\nreport 1\nread 0x1000\n"
    spin = ["wait @0 1\n" + SPIN] if spinning else []
    for _ in range(5):
        vm = start_when_free(start, server.path, script, *spin)
        vm.line()
        time.sleep(0.05)
        vm.kill()
    script = f"report 1\nreg-expect {fd.DELAY:#x} 0\n" + entry(1, 0, 2) + f"expect 0x1000 {number(0, 2):#x}\nread 0\n"
    start_when_free(start, server.path, script).fails("cpu0:6: read: region 2, offset 0: the device refuses")


def test_vm_ends_in_mid_fault(server, start):
    """SIGTERM, as a user would."""
    vm = start(server.path, entry(0, 0, 1) + f"reg-write {fd.DELAY:#x} 500\nreport 1\nread 0\n")
    vm.line()
    vm.process.terminate()
    wait_for(lambda: vm.process.poll() is not None, "it does not end")
