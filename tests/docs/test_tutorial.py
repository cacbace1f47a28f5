# SPDX-License-Identifier: BSD-3-Clause
"""
The tutorial is true: every block of docs/tutorial.md is run, in a new folder, with umdev installed.

A block says by its first line what it is:
  ```c NAME            a whole file; the commands find it in their folder
  ```c FOLDER/NAME     a part of that file of the sources, word for word
  ```console           commands after "$ ", each with what it prints; "…" stands for anything, and on a
                       line by itself for any number of lines
"""

import re
from pathlib import Path

from blocks import blocks, commands, run

TOP = Path(__file__).resolve().parents[2]
TUTORIAL = TOP / "docs/tutorial.md"


def test_every_block(environment, tmp_path):
    ran = 0
    for line, kind, text in blocks(TUTORIAL):
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
    files = {kind[2:]: text for _, kind, text in blocks(TUTORIAL) if kind.startswith("c ")}
    for name in ("umdev-copier.c", "copy.c"):
        assert files[name] == (TOP / "examples/copier" / name).read_text()


def test_the_first_device_is_short():
    files = {kind[2:]: text for _, kind, text in blocks(TUTORIAL) if kind.startswith("c ")}
    assert files["umdev-dice.c"].count("\n") <= 60
    assert files["umdev-copier.c"].count("\n") <= 70
