# SPDX-License-Identifier: BSD-3-Clause
"""What tinyvm says to those who use it wrongly."""

import re
import subprocess
from pathlib import Path

import pytest
from tinyvm import TINYVM

README = Path(__file__).resolve().parents[2] / "examples/tinyvm/README.md"


def run(*arguments):
    done = subprocess.run([TINYVM, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
    return done.returncode, done.stdout, done.stderr


def test_help():
    code, out, err = run("--help")
    assert code == 0 and not err
    for word in ("--socket", "--script", "--aperture", "--registers", "--interrupt", "--async-faults", "--no-kvm", "--no-fault", "--track"):
        assert word in out


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["--socket", "x"], ["--script", "x"], ["--socket"], ["--nonsense"], ["--socket", "x", "--script", "y", "z"],
        ["--socket", "x", "--script", "a", "--script", "b", "--script", "c"], ["--aperture", "-1"],
        ["--registers", "one"], ["--socket", "x", "--script", "y", "--track", "yes"],
    ],
)
def test_wrong_usage(arguments):
    code, out, err = run(*arguments)
    assert code == 2 and not out
    assert err.startswith("tinyvm: ") and "--help" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    "script, complaint",
    [
        ("jump 0", "1: unknown: 'jump'"),
        ("\n# nothing\nread", "3: too little after 'read'"),
        ("write 0", "1: too little after 'write'"),
        ("write 0 1 2", "1: too much: '2'"),
        ("read 12x", "1: neither a number nor a cell: '12x'"),
        ("read -1", "1: neither a number nor a cell: '-1'"),
        ("set 1 2", "1: no cell (@0 to @30, @irq): '1'"),
        ("set @32 2", "1: no cell (@0 to @30, @irq): '@32'"),
        ("end", "1: nothing is open: 'end'"),
        ("repeat 2\nstats", "2: no end of 'repeat'"),
        ("repeat 0\nend", "1: once at least: 'repeat'"),
        ("repeat 1\n" * 5 + "end\n" * 5, "5: too many of these in one another: 'repeat'"),
    ],
)
def test_wrong_script(tmp_path, script, complaint):
    (tmp_path / "s").write_text(script)
    code, out, err = run("--socket", "/nowhere", "--script", str(tmp_path / "s"))
    assert code == 1 and not out
    assert err.startswith("tinyvm: s:") and err.endswith(f"{complaint}\n")


def test_long_script(tmp_path):
    (tmp_path / "s").write_text("stats\n" * 30000)
    code, _, err = run("--socket", "/nowhere", "--script", str(tmp_path / "s"))
    assert code == 1 and err.endswith(": the script is too long at 'stats'\n")


def test_no_script(tmp_path):
    assert run("--socket", "x", "--script", f"{tmp_path}/none") == (1, "", f"tinyvm: {tmp_path}/none: No such file or directory\n")


def test_no_server(tmp_path):
    (tmp_path / "s").write_text("stats\n")
    code, _, err = run("--socket", f"{tmp_path}/none", "--script", str(tmp_path / "s"))
    assert code == 1 and err == f"tinyvm: {tmp_path}/none: can't connect: No such file or directory\n"


def test_outside_the_aperture(server, start):
    start(server.path, f"read {256 * 4096 - 7}\n").fails("cpu0:1: read: 0xffff9 is not in the aperture$")


def test_outside_the_registers(server, start):
    start(server.path, "reg-read 0x1000\n").fails("cpu0:1: reg-read: nothing is at 0xc0001000 of the guest$")


def test_outside_the_memory(server, start):
    for line, where in (("mem-read 0xa00000", "0xa00000"), ("mem-write 4 1", "0x4"), ("mem-fill 0x9ff000 0 0x2000", "0x9ff000"),
                        ("mem-same 0 0x9ffff8 16", "0x9ffff8"), (f"mem-fill 8 0 {2**64 - 8}", "0x8")):
        start(server.path, line + "\n").fails(f"cpu0:1: mem-[a-z]*: {where} is not in the memory, by words, with ")


def test_memory(server, start):
    script = "mem-fill 0x300000 7 64\nmem-write 0x300038 8\nmem-read 0x300030 @0\nmem-expect 0x300000 @0\n"
    script += "mem-fill 0x400000 7 56\nmem-write 0x400038 @0\nmem-same 0x300000 0x400000 56\nmem-same 0x300000 0x400000 64\n"
    start(server.path, script).fails("cpu0:8: mem-same: 0x8 is at 0x300038, and 0x7 at 0x400038$")


def test_register_until(server, start):
    start(server.path, "reg-write 0 3\nreg-until 0 4 3\nreg-until 0 4 5\n").fails("cpu0:3: reg-until: 0x3 was read, not 0x5$")


def test_pause(server, start):
    vm = start(server.path, "report 1\npause\nreport 2\n")
    assert vm.line() == "cpu0:1: report: 0x1"
    vm.go_on()
    assert vm.succeeds() == ["cpu0:3: report: 0x2"]


def test_no_such_region(server, start):
    start(server.path, "stats\n", options=["--registers", "1"]).fails("region 1: No such device$")
    start(server.path, "stats\n", options=["--aperture", "50"]).fails("region 50: Invalid argument$")


def test_expectation(server, start):
    start(server.path, "set @0 5\nreg-expect 0 @0\n").fails("cpu0:2: reg-expect: 0 was read, not 0x5$")


def test_readme(server, start):
    """Its example does what it says."""
    block = re.search(r"```console\n(.*?)```", README.read_text(), re.S)[1]
    script, printed = re.match(r"\$ cat touch\n(.*)\$ umdev [^\n]*\n(.*)", block, re.S).groups()
    code, lines, err = start(server.path, script).wait()
    assert code == 1
    assert "\n".join(lines + [err]) == printed.replace("touch:", "cpu0:")


def test_readme_has_all_lines():
    """Every word that a script may have."""
    words = re.findall(r'^    {"([a-z-]+)", OP_', (README.parent / "script.c").read_text(), re.M)
    assert len(words) > 15
    for word in words:
        assert re.search(rf"`{word}\b", README.read_text()), word
