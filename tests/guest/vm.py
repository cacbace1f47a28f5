# SPDX-License-Identifier: BSD-3-Clause
"""
A virtual machine under stock QEMU, with umdev's devices in it.

Data model. A VM is a QEMU process with two socket pairs: the guest's console and QMP. Its devices are
QEMU -device objects; device n of ours sits on the root bus at slot 0x10 + n, so that a test knows its
name in the guest, bdf(n). All RAM is a memfd that QEMU shares with the devices' processes.
"""

import json
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import images
from console import CommandFailed, Console
from qmp import Qmp

BOOT_TIMEOUT = 90  # three seconds on an idle machine
TIMEOUT = 60
FIRST_SLOT = 0x10

APPEND = (
    "console=ttyS0 quiet loglevel=3 panic=-1 nokaslr mitigations=off no_timer_check tsc=reliable"
    " 8250.nr_uarts=1 cryptomgr.notests hugepages=4"
)

# QEMU's options and the kernel's for each kind of machine.
MACHINES = {
    "q35": (["-M", "q35,memory-backend=ram"], ""),
    # It has no timer to tell the TSC's frequency by; TCG's is 1 GHz.
    "microvm": (
        ["-M", "microvm,memory-backend=ram,pcie=on,acpi=on,rtc=on,isa-serial=on", "-bios", "qboot.rom"],
        "tsc_early_khz=1000000",
    ),
    # The virtual IOMMU comes before the devices that it is to translate for.
    "iommu": (
        ["-M", "q35,memory-backend=ram,kernel-irqchip=split"]
        + ["-device", "intel-iommu,intremap=on,caching-mode=on"],
        "intel_iommu=on",
    ),
}


def bdf(number):
    return f"0000:00:{FIRST_SLOT + number:02x}.0"


def qemu_device(device, **properties):
    """A -device for one of our devices."""
    return {"driver": "vfio-user-pci", "socket": {"type": "unix", "path": str(device.socket)}, **properties}


class Vm:
    """
    Starts at once; boot() returns when the guest's shell is there. As a context manager it leaves no
    process behind.
    """

    def __init__(
        self, devices=(), machine="q35", flavour="cloud", properties=None, extra=(), append="", memory_mib=256,
        memory="memory-backend-memfd,share=on",
    ):
        """`memory` is QEMU's backend for the guest's RAM; `properties` are set on all of our devices; `extra` and `append` are more options of QEMU and
        of the kernel."""
        self.folder = tempfile.TemporaryDirectory(prefix="umdev-guest-vm-")
        self.log_path = Path(self.folder.name) / "qemu.log"
        machine_options, machine_append = MACHINES[machine]
        ours, theirs = socket.socketpair()
        qmp_ours, qmp_theirs = socket.socketpair()
        command = [images.qemu(), "-nodefaults", "-display", "none", "-accel", "tcg", *machine_options]
        command += ["-m", str(memory_mib)]
        command += ["-object", f"{memory},id=ram,size={memory_mib}M"]
        command += ["-chardev", f"socket,id=console,fd={theirs.fileno()}", "-serial", "chardev:console"]
        command += ["-chardev", f"socket,id=qmp,fd={qmp_theirs.fileno()}", "-qmp", "chardev:qmp"]
        command += ["-kernel", images.kernel(flavour), "-initrd", images.initramfs(flavour)]
        command += ["-append", f"{APPEND} {machine_append} {append}", *extra]
        for number, device in enumerate(devices):
            options = {"id": f"dev{number}", "addr": f"{FIRST_SLOT + number:x}.0", **(properties or {})}
            command += ["-device", json.dumps(qemu_device(device, **options))]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=(theirs.fileno(), qmp_theirs.fileno()), start_new_session=True,
            )
        theirs.close()
        qmp_theirs.close()
        self.console = Console(ours)
        self._qmp_socket = qmp_ours
        self._qmp = None

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.kill()

    @property
    def pid(self):
        return self.process.pid

    @property
    def qmp(self):
        if self._qmp is None:
            self._qmp = Qmp(self._qmp_socket, TIMEOUT)
        return self._qmp

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def alive(self):
        return self.process.poll() is None

    def boot(self):
        """Wait for the guest's shell, at the start or after a reset. Returns the VM."""
        try:
            self.console.wait_for(r"^@up \S+\n", BOOT_TIMEOUT)
        except Exception as error:
            raise AssertionError(f"the guest did not boot: {error}\nQEMU's log:\n{self.log()}") from error
        return self

    def try_run(self, command, timeout=TIMEOUT):
        """(exit code, output) of a shell command in the guest."""
        return self.console.run(command, timeout)

    def run(self, command, timeout=TIMEOUT):
        """The output of a command that must succeed."""
        code, output = self.try_run(command, timeout)
        if code:
            raise CommandFailed(f"in the guest, `{command}` ended with {code}:\n{output}")
        return output

    def send(self, command):
        """A command whose end is not waited for: the machine may not outlive it."""
        self.console.send(command)

    def wait_end(self):
        """QEMU's exit code, once it has ended by itself."""
        deadline = time.monotonic() + TIMEOUT
        while self.alive():
            self.console.drain()
            assert time.monotonic() < deadline, f"QEMU did not end:\n{self.console.tail()}\n{self.log()}"
            time.sleep(0.02)
        return self.process.returncode

    def power_off(self):
        self.send("poweroff -f")
        code = self.wait_end()
        assert code == 0, f"QEMU ended with {code}:\n{self.log()}"

    def kill(self, with_signal=signal.SIGKILL):
        """Idempotent."""
        if self.alive():
            self.process.send_signal(with_signal)
        self.process.wait()
        self.console.drain()
