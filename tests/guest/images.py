# SPDX-License-Identifier: BSD-3-Clause
"""What a guest starts from: QEMU, kernels, programs, initramfs. Fetched once, made once a run."""

import functools
import os
import subprocess
import tempfile
from pathlib import Path

import mkinitramfs

HERE = Path(__file__).resolve().parent
TOP = HERE.parents[1]
CACHE = Path(os.environ.get("UMDEV_GUEST_CACHE") or TOP / "build/guest-cache").resolve()

# Programs of the guest, by their sources in programs/.
PROGRAMS = {
    "bar": ["bar.c"],
    "kms-pattern": ["kms_pattern.c"],
    "vgpu-guest": ["vgpu_guest.c", "workload.c", "tables.c", "reference.c", "gpu_sysfs.c", "gpu_vfio.c"],
}

SCRIPTS = ["serial-exchange"]

# A kernel and the modules it has from the start.
FLAVOURS = {
    "cloud": ("cloud", []),
    "bochs": ("full", ["bochs"]),
    "vfio": ("cloud", ["vfio", "vfio_iommu_type1", "vfio_pci"]),
}


class FetchError(Exception):
    """Something of the guest's could not be had. A test that needs it fails."""


@functools.cache
def _fetch_error(script):
    """Run a fetch script, once: what does not come the first time is not tried for every test."""
    result = subprocess.run(
        [HERE / script],
        env=dict(os.environ, UMDEV_GUEST_CACHE=str(CACHE)),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    return f"{script} failed:\n{result.stdout}" if result.returncode else None


def _fetch(script):
    error = _fetch_error(script)
    if error:
        raise FetchError(error)


def qemu():
    """The command that starts QEMU."""
    _fetch("fetch-qemu")
    return CACHE / "qemu/qemu"


@functools.cache
def _folder():
    """Where this run's programs and initramfs are; gone with the last reference to it."""
    return tempfile.TemporaryDirectory(prefix="umdev-guest-images-")


@functools.cache
def program(name):
    """A static program, runnable in the guest and here."""
    _fetch("fetch-kernel")
    out = Path(_folder().name) / name
    command = [os.environ.get("CC", "gcc"), "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-ffp-contract=off"]
    command += ["-Wall", "-Wextra", "-static", "-o", out]
    command += [f"-I{TOP}/drivers/vgpu", "-isystem", CACHE / "headers"]
    subprocess.run(command + [HERE / "programs" / source for source in PROGRAMS[name]], check=True)
    return out


def kernel(flavour):
    _fetch("fetch-kernel")
    return CACHE / "kernel" / FLAVOURS[flavour][0] / "vmlinux"


@functools.cache
def initramfs(flavour):
    _fetch("fetch-kernel")
    out = Path(_folder().name) / f"{flavour}.cpio"
    kernel_name, modules = FLAVOURS[flavour]
    files = {f"bin/{name}": program(name) for name in PROGRAMS}
    files |= {f"bin/{name}": HERE / "programs" / name for name in SCRIPTS}
    mkinitramfs.make(out, CACHE, kernel_name, modules, files)
    return out
