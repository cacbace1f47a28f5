# SPDX-License-Identifier: BSD-3-Clause
"""What README.md, docs/control.md and the man pages show of the daemon, done with umdev installed."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from blocks import blocks, commands, pattern

TOP = Path(__file__).resolve().parents[2]
TIMEOUT = 60

# As much of socat as docs/control.md uses, where there is none.
SOCAT = """#!/usr/bin/python3
import socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect(sys.argv[2].removeprefix("UNIX:"))
    s.sendall(sys.stdin.buffer.read())
    s.shutdown(socket.SHUT_WR)
    while data := s.recv(65536):
        sys.stdout.buffer.write(data)
"""


@pytest.fixture
def folder():
    """With a short path, for sockets."""
    path = Path(tempfile.mkdtemp(prefix="umdev-r-", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def shell(environment, folder):
    """A function that runs lines in one shell, which and whose daemons end with it: what they print."""
    (folder / "bin").mkdir()
    if not shutil.which("socat"):
        (folder / "bin/socat").write_text(SOCAT)
        (folder / "bin/socat").chmod(0o755)
    env = {**environment, "PATH": f"{folder}/bin:{environment['PATH']}", "ROOT": str(folder)}
    for name in ("UMDEV_DIR", "UMDEV_CONTROL", "RUNTIME_DIRECTORY", "STATE_DIRECTORY"):
        env.pop(name, None)

    def run(lines):
        # A person sees the daemon's line, and goes on.
        ready = 'while [ ! -S "$(echo */control)" ]; do sleep 0.01; done'
        script = "\n".join(line + ("\n" + ready if line.endswith("&") else "") for line in lines)
        process = subprocess.Popen(
            ["bash", "-e", "-c", script + "\nkill $(jobs -p) 2>/dev/null || true\nwait"], cwd=folder, env=env,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        assert process.returncode == 0, output
        return output

    return run


def test_readme(shell, folder):
    (block,) = [text for _, kind, text in blocks(TOP / "README.md") if kind == "sh"]
    output = shell(block.splitlines())
    assert "vgpu-4" in output and "tty-1" in output
    assert re.search(r"^[0-9a-f-]{36}  /\S+/gpus/[0-9a-f-]{36}/socket$", output, re.M)
    assert "BAR0" in output or "region" in output.lower()
    deadline = time.monotonic() + TIMEOUT
    while (folder / "gpus").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_control_protocol(shell):
    (block,) = [text for _, kind, text in blocks(TOP / "docs/control.md") if "socat" in text]
    found = commands(block)
    assert len(found) == 3
    run, *daemon = found
    assert json.loads(shell([run[0].replace("umdev run", "exec umdev run")]))["result"]["devices"]
    output = shell([command for command, _ in daemon])
    assert re.fullmatch(".*\n" + pattern(daemon[-1][1]), output, re.S), output


PAGES = ("daemon", "types", "list", "create", "remove", "show", "stats", "top", "cdi")


def examples(page):
    """The lines of a man page's examples, unquoted."""
    text = (TOP / f"docs/man/umdev-{page}.1.scd").read_text()
    if "# EXAMPLES" not in text:
        return []
    section = re.split(r"^# ", text.split("# EXAMPLES")[1], flags=re.M)[0]
    found = []
    for paragraph in re.findall(r"^\t.*(?:\n(?!\n).*)*", section, re.M):
        script = re.sub(r"\\(.)", r"\1", paragraph.strip().replace("++\n", "\n"))
        found += script.splitlines() if "$ " not in script else [
            line[2:] for line in script.splitlines() if line.startswith("$ ")
        ]
    return found


def test_pages(shell, folder):
    """Those that say what to type are right."""
    lines = []
    for page in PAGES:
        lines += [line for line in examples(page) if not line.startswith(("podman", "umdev daemon"))]
    script = "\n".join(lines)
    assert script.count("umdev ") >= 6
    if not shutil.which("jq"):
        script = re.sub(r"\| jq '.*'", "| cat", script)
    script = script.replace("/etc/cdi", "$ROOT").replace("/var/lib/node_exporter", "$ROOT")
    script = script.replace("--control /run/gpu.control", "")
    (daemon,) = [line for line in examples("daemon") if line.startswith("umdev daemon")]
    shell([daemon.replace("umdev daemon", "umdev daemon --dir run"), "export UMDEV_DIR=run", *script.splitlines()])
    assert "umdev_traps_read_total" in (folder / "umdev.prom").read_text()
    assert json.loads((folder / "umdev.org-vgpu.json").read_text())["devices"]
