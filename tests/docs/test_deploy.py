# SPDX-License-Identifier: BSD-3-Clause
"""
docs/deploy.md is true, as far as this machine can try it: ```console TOOL blocks are run where the tool
is, and works.

They are run in a mount and process namespace: /etc and /var are overlays, /run is empty, so the
machine's engines and their files stay as they are. Containers find umdev where it is installed, and
its way there, by the tool's configuration.
"""

import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from blocks import blocks, commands, run

TOP = Path(__file__).resolve().parents[2]
PAGE = TOP / "docs/deploy.md"
BUILD = Path(os.environ.get("UMDEV_BUILD_DIR") or TOP / "build").resolve()
QEMU = Path(os.environ.get("UMDEV_GUEST_CACHE") or TOP / "build/guest-cache").resolve() / "qemu/qemu"

PRIVATE = """
mount -t tmpfs private {folder}
for d in etc var; do
    mkdir -p {folder}/$d/upper {folder}/$d/work
    mount -t overlay -o lowerdir=/$d,upperdir={folder}/$d/upper,workdir={folder}/$d/work private /$d
done
mount -t tmpfs private /run
echo ready
sleep 600 & wait
"""

LIBVIRT = """
cat >/etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
END
libvirtd --daemon
"""


class Machine:
    """A namespace of its own, in which commands are run. Its first process buries orphans."""

    def __init__(self, folder, environment):
        self.folder, self.environment = folder, environment
        (folder / "layers").mkdir()
        self.process = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
             "bash", "-e", "-c", PRIVATE.format(folder=folder / "layers")],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        said = self.process.stdout.readline()
        if said != "ready\n":
            self.process.wait()
            pytest.skip(f"no namespace of its own: {said.strip()}")
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.enter = f"nsenter --target {children[0]} --mount --pid sh -c "

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def command(self, text):
        return self.enter + shlex.quote(f"cd {shlex.quote(str(self.folder))} && {text}")

    def try_command(self, text):
        """Skip the test where this machine can't do it."""
        done = subprocess.run(self.command(text), shell=True, env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        if done.returncode:
            pytest.skip(f"{text.split()[0]} does not work here: {done.stdout.strip()[-300:]}")


@pytest.fixture
def machine(environment, tmp_path):
    if os.getuid() != 0:
        pytest.skip("not root")
    (tmp_path / "bin").mkdir()
    machine = Machine(tmp_path, {**environment, "PATH": f"{tmp_path}/bin:{environment['PATH']}"})
    yield machine
    machine.close()


def need(*tools):
    for tool in tools:
        if not shutil.which(tool):
            pytest.skip(f"there is no {tool}")


def write_command(machine, name, *options):
    """A command that is the one of this name with some options first."""
    path = machine.folder / "bin" / name
    path.write_text(f"#!/bin/sh\nexec {shlex.join([shutil.which(name), *options])} \"$@\"\n")
    path.chmod(0o755)


def run_blocks(machine, tool):
    ran = 0
    for line, kind, text in blocks(PAGE):
        if kind == f"console {tool}":
            for command, expected in commands(text):
                run(machine.command(command), expected, machine.folder, machine.environment, line)
                ran += 1
        elif " " in kind and not kind.startswith("console"):
            (machine.folder / kind.split()[1]).write_text(text.replace("/usr/bin/qemu-system-x86_64", str(QEMU)))
    return ran


def test_nspawn(machine, environment):
    need("systemd-nspawn")
    installed = Path(environment["LD_LIBRARY_PATH"])
    write_command(
        machine, "systemd-nspawn", "--quiet", "--register=no", "--keep-unit",
        f"--bind-ro={environment['UMDEV_ROOT']}", f"--setenv=PATH={environment['PATH']}",
        f"--setenv=LD_LIBRARY_PATH={installed}",
    )
    machine.try_command("systemd-nspawn -D / --volatile=yes true")
    assert run_blocks(machine, "systemd-nspawn") == 2


@pytest.fixture
def podman_machine(machine, environment):
    need("podman", "runc")
    (machine.folder / "containers.conf").write_text(
        '[containers]\nnetns = "none"\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
        f'env = ["PATH={environment["PATH"]}", "LD_LIBRARY_PATH={environment["LD_LIBRARY_PATH"]}"]\n'
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n')
    (machine.folder / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{machine.folder}/layers/graph"\nrunroot = "/run/containers/storage"\n')
    machine.environment |= {
        "CONTAINERS_CONF": str(machine.folder / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(machine.folder / "storage.conf"),
    }
    machine.try_command("podman run --rm --rootfs /:O true")
    return machine


def test_podman(podman_machine):
    assert run_blocks(podman_machine, "podman") == 4


def test_cdi(podman_machine):
    podman_machine.try_command("umdev cdi --help")
    subprocess.run(podman_machine.command("mkdir -p /etc/cdi"), shell=True, check=True)
    assert run_blocks(podman_machine, "cdi") == 4


def test_libvirt(machine):
    need("libvirtd", "virsh")
    if not QEMU.exists():
        pytest.skip(f"there is no {QEMU}: tests/guest/fetch-qemu fetches it")
    machine.try_command(LIBVIRT)
    deadline = time.monotonic() + 20
    while subprocess.run(machine.command("virsh -q list >/dev/null 2>&1"), shell=True, check=False).returncode:
        assert time.monotonic() < deadline, "libvirtd does not answer"
        time.sleep(0.1)
    assert run_blocks(machine, "virsh") == 2


def test_each_block_is_known():
    for line, kind, _ in blocks(PAGE):
        assert kind in ("", "console systemd-nspawn", "console podman", "console cdi", "console virsh", "xml card.xml", "json card.json"), line
