# SPDX-License-Identifier: BSD-3-Clause
"""Blocks of code in Markdown, and commands with what they print."""

import re
import subprocess

TIMEOUT = 120

BLOCK = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.M)


def blocks(path):
    """[(line number, what it is, text)]"""
    text = path.read_text()
    return [(text.count("\n", 0, m.start()) + 1, m[1], m[2]) for m in BLOCK.finditer(text)]


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
    where = f"block at line {line}: $ {command}\n{result.stdout}"
    assert re.fullmatch(pattern(expected), result.stdout, re.S), f"{where}\nis not\n" + "\n".join(expected)
    # Only an error message may end with an error.
    refused = bool(expected) and expected[-1].startswith("umdev: ")
    assert (result.returncode != 0) == refused, f"{where}\nended with {result.returncode}"
