# SPDX-License-Identifier: BSD-3-Clause
"""What debian/ says a second time is what the sources say: the packages to build with, the symbols."""

import re
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]

# build-essential, and what meson depends on.
NEVER_NAMED = {"gcc", "libc6-dev", "make", "ninja-build"}


def test_build_depends():
    wanted = set(re.findall(r"^build\s+(\S+)$", (TOP / "scripts/packages").read_text(), re.M)) - NEVER_NAMED
    depends = (TOP / "debian/control").read_text().split("Build-Depends:")[1].split("Standards-Version")[0]
    named = {line.split()[0].rstrip(",") for line in depends.strip().splitlines()}
    assert wanted - named == set(), "debian/control lacks Build-Depends"


def test_symbols():
    declared = set()
    for header in (TOP / "include/umdev").glob("*.h"):
        text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
        text = re.sub(r"^#define(?:.*\\\n)*.*$", "", text, flags=re.M)
        declared |= set(re.findall(r"^UMDEV_API [^;(]*?(umdev_\w+)\(", text, re.M))
    listed = set(re.findall(r"^ (\w+)@Base ", (TOP / "debian/libumdev0.symbols").read_text(), re.M))
    assert declared - listed == set(), "debian/libumdev0.symbols lacks symbols"
    assert listed - declared == set(), "debian/libumdev0.symbols has symbols that no header declares"
