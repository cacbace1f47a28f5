# SPDX-License-Identifier: BSD-3-Clause
"""
The tutorial is true: every block of docs/tutorial.md is run, in a new folder, with umdev installed.

A block says by its first line what it is:
  ```c NAME            a whole file; the commands find it in their folder
  ```c FOLDER/NAME     a part of that file of the sources, word for word
  ```console           commands after "$ ", each with what it prints; "…" stands for anything, and on a
                       line by itself for any number of lines
"""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("UMDEV_BUILD_DIR") or TOP / "build").resolve()
TUTORIAL = TOP / "docs/tutorial.md"
TIMEOUT = 120

BLOCK = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.M)


def blocks():
    """[(line number, what it is, text)]"""
    text = TUTORIAL.read_text()
    return [(text.count("\n", 0, m.start()) + 1, m[1], m[2]) for m in BLOCK.finditer(text)]


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


@pytest.fixture(scope="module")
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
        "LC_ALL": "C.UTF-8",
    }
    environment.pop("UMDEV_BUILD_DIR", None)
    return environment


def commands(text):
    """[(command, [lines that it prints])] of a console block."""
    found = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def pattern(lines):
    """A regular expression for what a command prints."""
    parts = [".*\n" if line == "…" else re.escape(line).replace("…", "[^\n]*") + "\n" for line in lines]
    return "".join(parts)


def run(command, expected, folder, environment, line):
    result = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, timeout=TIMEOUT,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    where = f"docs/tutorial.md, block at line {line}: $ {command}\n{result.stdout}"
    assert re.fullmatch(pattern(expected), result.stdout, re.S), f"{where}\nis not\n" + "\n".join(expected)
    # Only an error message may end with an error.
    refused = bool(expected) and expected[-1].startswith("umdev: ")
    assert (result.returncode != 0) == refused, f"{where}\nended with {result.returncode}"


def test_every_block(environment, tmp_path):
    ran = 0
    for line, kind, text in blocks():
        if kind == "console":
            for command, expected in commands(text):
                run(command, expected, tmp_path, environment, line)
                ran += 1
        elif re.fullmatch(r"c [^/ ]+\.c", kind):
            (tmp_path / kind[2:]).write_text(text)
        else:
            source = re.fullmatch(r"c ([^ ]+/[^ ]+)", kind)
            assert source, f"docs/tutorial.md, line {line}: a block of no kind: ```{kind}"
            assert text in (TOP / source[1]).read_text(), f"line {line}: {source[1]} has other words"
    assert ran >= 10


def test_examples_are_those_of_the_sources():
    files = {kind[2:]: text for _, kind, text in blocks() if kind.startswith("c ")}
    for name in ("umdev-copier.c", "copy.c"):
        assert files[name] == (TOP / "examples/copier" / name).read_text()


def test_the_first_device_is_short():
    files = {kind[2:]: text for _, kind, text in blocks() if kind.startswith("c ")}
    assert files["umdev-dice.c"].count("\n") <= 60
    assert files["umdev-copier.c"].count("\n") <= 70
