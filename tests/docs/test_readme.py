# SPDX-License-Identifier: BSD-3-Clause
"""What README.md shows works: its driver, its commands, its client's calls."""

import re
import subprocess
from pathlib import Path

from blocks import blocks, commands, run

TOP = Path(__file__).resolve().parents[2]
README = TOP / "README.md"

CLIENT = """
#include <umdev/client.h>
enum {{ REG_GO = 0x18 }};
int main(int argc, char **argv);
int main(int argc, char **argv)
{{
    const char *socket = argc ? argv[0] : 0;
    int memfd = -1;
{body}
    return irq < 0 || !vram;
}}
"""


def c_blocks():
    return [text for _, kind, text in blocks(README) if kind == "c"]


def test_driver(environment, tmp_path):
    (tmp_path / "umdev-copier.c").write_text(c_blocks()[0])
    ran = 0
    for _, kind, text in blocks(README):
        if kind == "console":
            for command, _ in commands(text):
                # QEMU's command line is longer than a README; tests/install installs.
                if "…" not in command and not command.startswith("install "):
                    subprocess.run(["bash", "-c", command], cwd=tmp_path, env=environment, check=True)
                    ran += 1
    assert ran == 2


def test_client_compiles(environment, tmp_path):
    (tmp_path / "client.c").write_text(CLIENT.format(body=c_blocks()[1]))
    run("cc -c $(pkg-config --cflags umdev) client.c", [], tmp_path, environment, 0)


def test_commands_are_there(environment):
    text = README.read_text()
    shown = set(re.findall(r"^umdev (\w+) ", text, re.M))
    assert {"run", "probe", "demo", "bench"} <= shown
    for command in shown:
        subprocess.run(["umdev", command, "--help"], env=environment, check=True, stdout=subprocess.DEVNULL)


def test_man_pages_are_installed():
    listed = (TOP / "docs/meson.build").read_text()
    for page in (TOP / "docs/man").glob("*.scd"):
        assert f"'{page.stem}'" in listed, f"docs/meson.build does not list {page.name}"
    for command in re.findall(r"^umdev (\w+) ", README.read_text(), re.M):
        assert (TOP / f"docs/man/umdev-{command}.1.scd").exists(), f"no man page of umdev {command}"
