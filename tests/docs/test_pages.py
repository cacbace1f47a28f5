# SPDX-License-Identifier: BSD-3-Clause
"""
Pages that show how something is done are true: every block of them is run, in a new folder, with
umdev installed.

A block says by its first line what it is:
  ```c NAME            a whole file; the commands find it in their folder
  ```c FOLDER/NAME     a part of that file of the sources, word for word
  ```console           commands after "$ ", each with what it prints; "…" stands for anything, and on a
                       line by itself for any number of lines
"""

import re
from pathlib import Path

import pytest
from blocks import blocks, commands, run

TOP = Path(__file__).resolve().parents[2]
DOCS = TOP / "docs"
TUTORIAL = DOCS / "tutorial.md"


def whole_files(page):
    return {kind[2:]: text for _, kind, text in blocks(page) if re.fullmatch(r"c [^/ ]+\.c", kind)}


def check_page(page, environment, folder):
    """The number of commands that ran."""
    ran = 0
    for line, kind, text in blocks(page):
        if kind == "console":
            for command, expected in commands(text):
                run(command, expected, folder, environment, line)
                ran += 1
        elif re.fullmatch(r"c [^/ ]+\.c", kind):
            (folder / kind[2:]).write_text(text)
        else:
            source = re.fullmatch(r"c ([^ ]+/[^ ]+)", kind)
            assert source, f"{page.name}, line {line}: a block of no kind: ```{kind}"
            assert text in (TOP / source[1]).read_text(), f"line {line}: {source[1]} has other words"
    return ran


def test_tutorial(environment, tmp_path):
    assert check_page(TUTORIAL, environment, tmp_path) >= 10


def test_from_the_kernel(environment, tmp_path):
    if not environment["UMDEV_HAS_PNG"]:
        pytest.skip("no screenshots without libpng")
    assert check_page(DOCS / "from-the-kernel.md", environment, tmp_path) == 5


def test_examples_are_those_of_the_sources():
    files = whole_files(TUTORIAL)
    for name in ("umdev-copier.c", "copy.c"):
        assert files[name] == (TOP / "examples/copier" / name).read_text()


def test_small_devices_are_short():
    lines = {name: text.count("\n") for page in DOCS.glob("*.md") for name, text in whole_files(page).items()}
    assert lines["umdev-dice.c"] <= 60
    assert lines["umdev-copier.c"] <= 70
    assert lines["umdev-panel.c"] <= 100
