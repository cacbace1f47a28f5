# SPDX-License-Identifier: BSD-3-Clause
"""examples/tinyvm and its scripts, as the tests use them."""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))
import faultdev as fd  # noqa: E402
from server import ALARMS, BUILD_DIR, _die_with_parent  # noqa: E402

TINYVM = BUILD_DIR / "examples/tinyvm/tinyvm"
TIMEOUT = 60
PAGE = 4096


class Vm:
    """A tinyvm process: a vCPU for each script."""

    def __init__(self, path, *scripts, options=()):
        self.dir = tempfile.TemporaryDirectory(prefix="umdev-kvm-")
        self.path, self.options = path, list(options)
        self.files = []
        for n, script in enumerate(scripts):
            file = Path(self.dir.name) / f"cpu{n}"
            file.write_text(script)
            self.files += ["--script", str(file)]
        self.process = subprocess.Popen(
            [TINYVM, "--socket", path, *self.files, *self.options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=_die_with_parent,
        )

    def line(self):
        """The next line it prints, which it must."""
        line = self.process.stdout.readline()
        assert line, f"tinyvm ended: {self.process.stderr.read()}"
        return line.rstrip("\n")

    def go_on(self):
        """The end of a `pause`."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def wait(self, timeout=TIMEOUT):
        """Exit code, lines that were not read yet, and the error."""
        try:
            out, err = self.process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"tinyvm hangs: {self.process.communicate()}") from None
        assert not ALARMS.search(err), err
        return self.process.returncode, out.splitlines(), err

    def succeeds(self):
        code, lines, err = self.wait()
        assert (code, err) == (0, ""), (code, lines, err)
        return lines

    def fails(self, pattern, timeout=TIMEOUT):
        """Its one line of complaint matches."""
        code, lines, err = self.wait(timeout)
        complaint = [line for line in err.splitlines() if line.startswith("tinyvm: ")]
        assert code == 1 and len(complaint) == 1, (code, lines, err)
        assert re.search(pattern, complaint[0]), err
        return lines

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def close(self):
        self.kill()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.stderr.close()
        self.dir.cleanup()


def result(lines, line, verb):
    """What a script's line came to: "cpu0:3: read: 0x5" gives 5."""
    for text in lines:
        match = re.fullmatch(rf"(?:cpu\d):{line}: {verb}: (0x[0-9a-f]+|0)", text)
        if match:
            return int(match[1], 0)
    raise AssertionError(f"no {verb} of line {line} in {lines}")


def stats(lines):
    """The numbers of the last `stats`: faults, refused, invalidated, evicted, maps."""
    text = [line for line in lines if ": stats: " in line][-1]
    names = re.findall(r"(\d+) (\w+)", text.split(": stats: ")[1])
    return {name: int(number) for number, name in names}


def show(control):
    """The device's counters, as `umdev show` tells them."""
    output = subprocess.run(
        [BUILD_DIR / "src/cli/umdev", "show", "--json", "--control", control],
        check=True, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, timeout=TIMEOUT,
    ).stdout
    return json.loads(output)[0]["stats"]


def wait_for(condition, what):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


# ------------------------------------------------------------------ faultdev's table, by script


def entry(page, obj, obj_page, writable=True):
    value = fd.VALID | (fd.WRITABLE if writable else 0) | obj << 8 | obj_page << 16
    return f"reg-write {fd.INDEX:#x} {page}\nreg-write {fd.ENTRY:#x} {value:#x}\n"


def no_entry(page):
    return f"reg-write {fd.INDEX:#x} {page}\nreg-write {fd.ENTRY:#x} 0\n"


def invalidate(first, last=None):
    last = first if last is None else last
    return f"reg-write {fd.FIRST:#x} {first}\nreg-write {fd.LAST:#x} {last}\nreg-expect {fd.RESULT:#x} 0\n"


def number(obj, page):
    """What a page of an object begins with."""
    return obj | page << 32
