#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""
Write a guest's initramfs: an uncompressed newc cpio with the fetched tools, /init, programs of our
own, and kernel modules with all they depend on. Needs no root, no cpio and no depmod.

    mkinitramfs.py OUT --cache FOLDER [--kernel cloud|full] [--module NAME]… [--add FILE:PATH]…
"""

import argparse
import os
import re
import stat
import subprocess
from pathlib import Path

INIT = Path(__file__).resolve().parent / "init"

# What the guest calls by name of all that busybox can do.
APPLETS = """
    sh awk basename cat cmp cut dd dmesg echo find grep head hexdump insmod kill killall ln ls lsmod
    md5sum mkdir mount od poweroff printf ps reboot rm sed seq sha256sum sleep sort stty sync tail
    test timeout tr true uname wc xxd
""".split()


class Initramfs:
    """Files by path. Directories come by themselves."""

    def __init__(self):
        self.entries = {}  # path without leading slash: (mode, content, device number)

    def _add(self, path, mode, content=b"", device=(0, 0)):
        path = path.strip("/")
        for parent in list(Path(path).parents)[:-1]:
            self.entries.setdefault(str(parent), (stat.S_IFDIR | 0o755, b"", (0, 0)))
        self.entries[path] = (mode, content, device)

    def add_directory(self, path):
        self._add(path, stat.S_IFDIR | 0o755)

    def add_file(self, path, content, mode=0o755):
        self._add(path, stat.S_IFREG | mode, content)

    def add_link(self, path, target):
        self._add(path, stat.S_IFLNK | 0o777, target.encode())

    def add_character_device(self, path, major, minor):
        self._add(path, stat.S_IFCHR | 0o600, b"", (major, minor))

    def add_program(self, root, program):
        """A program of the system at `root`, with the libraries its own dynamic linker finds there."""
        root = Path(root)
        self.add_file(f"bin/{program}", (root / "usr/bin" / program).read_bytes())
        loader = root / "usr/lib64/ld-linux-x86-64.so.2"
        self.add_file("lib64/ld-linux-x86-64.so.2", loader.read_bytes())
        command = [loader, "--library-path", root / "usr/lib/x86_64-linux-gnu"]
        command += ["--list", root / "usr/bin" / program]
        libraries = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout
        for name, path in re.findall(r"(\S+) => (/\S+) \(0x", libraries):
            if not name.startswith("/"):
                self.add_file(f"lib/{name}", Path(path).read_bytes())

    def add_modules(self, folder, names):
        """Modules of the kernel whose modules are in `folder`, and /modules/order: a name a line."""
        order = ModuleSet(folder).closure(names)
        for name, content in order.items():
            self.add_file(f"modules/{name}", content, 0o644)
        self.add_file("modules/order", "".join(f"{name}\n" for name in order).encode(), 0o644)

    def write(self, path):
        with open(path, "wb") as out:
            for number, name in enumerate(sorted(self.entries), 1):
                mode, content, device = self.entries[name]
                out.write(self._record(number, name, mode, content, device))
            out.write(self._record(0, "TRAILER!!!", 0, b"", (0, 0)))

    @staticmethod
    def _record(number, name, mode, content, device):
        name = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(name), 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name
        return head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)


class ModuleSet:
    """The modules of one kernel, found by name ('-' and '_' are one)."""

    def __init__(self, folder):
        self.files = {self._name(path.name): path for path in Path(folder).rglob("*.ko")}
        builtin = (Path(folder) / "modules.builtin").read_text().split()
        self.builtin = {self._name(os.path.basename(path)) for path in builtin}

    @staticmethod
    def _name(file_name):
        return file_name.removesuffix(".ko").replace("-", "_")

    def closure(self, names):
        """{name: content} of these and what they need, in an order in which they can be loaded."""
        order = {}
        for name in names:
            self._add(self._name(name), order)
        return order

    def _add(self, name, order):
        if name in order or name in self.builtin:
            return
        if name not in self.files:
            raise LookupError(f"this kernel has no module {name}")
        content = self.files[name].read_bytes()
        depends = re.search(rb"\0depends=([^\0]*)\0", content)
        for other in depends[1].decode().split(",") if depends and depends[1] else []:
            self._add(self._name(other), order)
        order[name] = content


def make(out, cache, kernel="cloud", modules=(), files=None):
    """Write an initramfs to `out`; `files`: {path in the guest: file here}."""
    initramfs, tools = Initramfs(), Path(cache) / "tools"
    for path in ("proc", "sys", "dev", "tmp", "root"):
        initramfs.add_directory(path)
    initramfs.add_character_device("dev/console", 5, 1)
    initramfs.add_file("init", INIT.read_bytes())
    initramfs.add_file("bin/busybox", (tools / "usr/bin/busybox").read_bytes())
    for applet in APPLETS:
        initramfs.add_link(f"bin/{applet}", "busybox")
    for program in ("lspci", "setpci"):
        initramfs.add_program(tools, program)
    for path, file in (files or {}).items():
        initramfs.add_file(path, Path(file).read_bytes())
    initramfs.add_modules(Path(cache) / "kernel" / kernel / "modules", modules)
    initramfs.write(out)


def main():
    parser = argparse.ArgumentParser(description="Write a guest's initramfs.")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--cache", required=True, help="the folder that the fetch scripts filled")
    parser.add_argument("--kernel", default="cloud", choices=["cloud", "full"])
    parser.add_argument("--module", action="append", default=[], metavar="NAME")
    parser.add_argument("--add", action="append", default=[], metavar="FILE:PATH")
    args = parser.parse_args()
    files = {}
    for item in args.add:
        file, _, path = item.rpartition(":")
        files[path] = file
    make(args.out, args.cache, args.kernel, args.module, files)


if __name__ == "__main__":
    main()
