# SPDX-License-Identifier: BSD-3-Clause
"""umdev as a user has it: installed, with nothing of the build folder known."""

import json
import os
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("UMDEV_BUILD_DIR") or TOP / "build").resolve()


def build_option(name):
    options = json.loads((BUILD / "meson-info/intro-buildoptions.json").read_text())
    return next(option["value"] for option in options if option["name"] == name)


def write_compiler(folder):
    """`cc` for programs that are to run with this build: sanitized if it is."""
    sanitize = build_option("b_sanitize")
    flags = f"-fsanitize={sanitize}" if sanitize not in ("none", "") else ""
    folder.mkdir()
    script = folder / "cc"
    script.write_text(f'#!/bin/sh\nexec {os.environ.get("CC", "gcc")} -Wall -Wextra -Werror {flags} "$@"\n')
    script.chmod(0o755)


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Where umdev is installed, and nothing of the build folder is known."""
    root = tmp_path_factory.mktemp("root")
    subprocess.run(
        ["meson", "install", "-C", BUILD, "--no-rebuild", "--quiet", "--destdir", root],
        check=True, stdin=subprocess.DEVNULL,
    )
    prefix, libdir = Path(build_option("prefix")), build_option("libdir")
    installed = root / prefix.relative_to("/")
    write_compiler(root / "compiler")
    environment = {
        **os.environ,
        "PATH": f"{root}/compiler:{installed}/bin:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": f"{installed / libdir}",
        "PKG_CONFIG_LIBDIR": f"{installed / libdir}/pkgconfig",
        "PKG_CONFIG_SYSROOT_DIR": str(root),
        # The path that is built in leads to where it is not installed.
        "UMDEV_DRIVER_PATH": f"{installed / libdir}/umdev",
        "UMDEV_ROOT": str(root),
        "UMDEV_HAS_PNG": "yes" if list(root.rglob("umdev-screenshot")) else "",
        "LC_ALL": "C.UTF-8",
    }
    environment.pop("UMDEV_BUILD_DIR", None)
    return environment
