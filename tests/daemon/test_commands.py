# SPDX-License-Identifier: BSD-3-Clause
"""What the commands print: tables, JSON, Prometheus' text, CDI specifications, a terminal's screen."""

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import time

import pytest
import vfiouser as vu
from cdi import check_cdi
from daemon import TIMEOUT, UMDEV, environment, umdev, uuid_of
from prometheus import parse
from server import BUILD_DIR, Server


@pytest.fixture
def daemon(start):
    """Two parents, three devices."""
    daemon = start("testdev,name=a", "plaindev,name=b,isolate=yes")
    for i, kind in enumerate(("testdev-1", "plaindev-1", "testdev-1")):
        daemon.create(kind, "--uuid", uuid_of(i))
    return daemon


def columns(text):
    """Of an aligned table: where each column begins, by its heading; every row must agree."""
    lines = text.splitlines()
    starts = [m.start() for m in re.finditer(r"(?<=  )\S|^\S", lines[0])]
    return [[line[a:b].strip() for a, b in zip(starts, [*starts[1:], None])] for line in lines]


# ------------------------------------------------------------------ tables and JSON


def test_list(daemon):
    table = columns(daemon.output("list"))
    assert table[0] == ["UUID", "TYPE", "PARENT", "CLIENT", "KEPT", "SOCKET"]
    assert table[1] == [uuid_of(0), "testdev-1", "a", "no", "no", f"{daemon.dir}/{uuid_of(0)}/socket"]
    with daemon.client(uuid_of(1)):
        clients = {row[0]: row[3] for row in columns(daemon.output("list"))[1:]}
    # In the order of their parents.
    assert clients == {uuid_of(0): "no", uuid_of(2): "no", uuid_of(1): "yes"}
    assert list(clients) == [uuid_of(0), uuid_of(2), uuid_of(1)]


def test_create_and_remove_json(daemon):
    created = daemon.json("create", "plaindev-1", "--uuid", uuid_of(9))
    assert created == {
        "uuid": uuid_of(9), "type": "plaindev-1", "parent": "b", "driver": "plaindev",
        "socket": f"{daemon.dir}/{uuid_of(9)}/socket",
    }
    assert daemon.json("remove", uuid_of(9), uuid_of(0)) == [uuid_of(9), uuid_of(0)]
    # Those that are there go, though others are not.
    done = daemon.command("remove", uuid_of(9), uuid_of(2), "--json")
    assert done.returncode == 1 and json.loads(done.stdout) == [uuid_of(2)]
    assert daemon.uuids() == [uuid_of(1)]


def test_show(daemon):
    with daemon.client(uuid_of(0)) as client:
        client.read(vu.BAR2, 0, 4)
        text = daemon.output("show", uuid_of(0))
    assert text.startswith(uuid_of(0)) and "traps       1 reads of 4 bytes" in text
    assert [d["uuid"] for d in daemon.json("show")] == [uuid_of(0), uuid_of(2), uuid_of(1)]


def test_stats(daemon):
    with daemon.client(uuid_of(1)) as client:
        client.read(vu.BAR0, 0, 4)
        table = columns(daemon.output("stats"))
        assert len(table) == 4
        (row,) = columns(daemon.output("stats", uuid_of(1)))[1:]
        assert daemon.json("stats", uuid_of(1))[0]["stats"]["sessions"] == 1
    assert row[0] == uuid_of(1) and row[1] == "1" and row[3] == "1"


def test_prometheus(daemon):
    with daemon.client(uuid_of(1)) as client:
        for _ in range(3):
            client.read(vu.BAR0, 0, 4)
        stats = daemon.json("stats", uuid_of(1))[0]["stats"]
        metrics = parse(daemon.output("stats", "--prometheus"))
    assert metrics["umdev_devices"].value() == 3
    labels = {"uuid": uuid_of(1), "type": "plaindev-1", "parent": "b", "driver": "plaindev"}
    assert metrics["umdev_traps_read_total"].value(**labels) == stats["traps_read"] == 3
    assert metrics["umdev_trap_read_bytes_total"].value(**labels) == 12
    assert metrics["umdev_connected"].value(**labels) == 1
    for name, metric in metrics.items():
        assert name.endswith("_total") == (metric.type == "counter"), name
        assert name == "umdev_devices" or len(metric.samples) == 3, name
    # Every number that the control socket tells is there, but what is no quantity.
    assert len(metrics) == len(stats) - 2 + 2
    one = parse(daemon.output("stats", uuid_of(0), "--prometheus"))
    assert len(one["umdev_sessions_total"].samples) == 1


def test_run_answers_too():
    """`umdev run --control` is asked by the same commands, and has no devices that come and go."""
    with_control = Server("testdev", "--control", "control.sock")
    try:
        uuid = json.loads(umdev("list", "--control", "control.sock", "--json").stdout)[0]["uuid"]
        for words in (("types",), ("list",), ("stats",), ("stats", "--prometheus"), ("show", uuid)):
            assert umdev(*words, "--control", "control.sock").returncode == 0
        for words in (("create", "testdev-1"), ("remove", uuid)):
            done = umdev(*words, "--control", "control.sock")
            assert done.returncode == 1 and "'umdev daemon'" in done.stderr
    finally:
        with_control.kill()
        os.unlink("control.sock")


@pytest.fixture(autouse=True)
def _own_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)


def test_usage():
    cases = (
        ("types", "x"), ("list", "x"), ("create",), ("create", "a", "b"), ("remove",), ("stats", "a", "b"),
        ("stats", "--json", "--prometheus"), ("top", "x"), ("top", "--interval", "0"), ("top", "-n", "x"),
        ("cdi", "a", "b"), ("show", "--frob"), ("create", "--uuid"),
    )
    for words in cases:
        done = umdev(*words)
        assert done.returncode == 2 and done.stdout == "", words
        assert done.stderr.startswith(f"umdev: {words[0]}: ") and f"umdev {words[0]} --help" in done.stderr
    for command in ("daemon", "types", "list", "create", "remove", "show", "stats", "top", "cdi"):
        done = umdev(command, "--help")
        assert done.returncode == 0 and done.stdout.startswith(f"Usage: umdev {command}") and not done.stderr
        assert max(map(len, done.stdout.splitlines())) <= 90


# ------------------------------------------------------------------ top


def test_top_batch(daemon):
    with daemon.client(uuid_of(1)) as client:
        with subprocess.Popen(
            [UMDEV, "top", "--dir", daemon.dir, "--batch", "-n", "2", "--interval", "1"],
            stdout=subprocess.PIPE, text=True,
        ) as top:
            while top.poll() is None:
                client.read(vu.BAR0, 0, 4)
                time.sleep(0.001)
            tables = top.stdout.read().split("\n\n")
    assert len(tables) == 2
    for table in tables:
        heading, *rows = table.strip().splitlines()
        assert heading == "3 devices, 1 client; per second:"
        # The busiest comes first.
        assert rows[1].split()[:4] == [uuid_of(1), "plaindev-1", "b", "yes"]
        assert rows[1].split()[4] != "0" and rows[2].split()[4] == "0"


def test_top_json(daemon):
    done = umdev("top", "--dir", str(daemon.dir), "--json", "-n", "1", "-i", "1")
    (line,) = done.stdout.splitlines()
    devices = json.loads(line)
    assert {d["uuid"] for d in devices} == {uuid_of(0), uuid_of(1), uuid_of(2)}
    assert devices[0]["traps_per_second"] == 0 and devices[0]["connected"] is False
    assert devices[0]["engine_percent"] is None


def test_top_agrees_with_the_client(daemon):
    """What a client has done is in the looks that follow, once."""
    reads, counted = 200, 0
    with daemon.client(uuid_of(1)) as client, subprocess.Popen(
        [UMDEV, "top", "--dir", daemon.dir, "--json", "-i", "1"], stdout=subprocess.PIPE, text=True
    ) as top:
        top.stdout.readline()
        for _ in range(reads):
            client.read(vu.BAR0, 0, 4)
        while counted < reads:
            rows = {row["uuid"]: row for row in json.loads(top.stdout.readline())}
            counted += round(rows[uuid_of(1)]["traps_per_second"] * rows[uuid_of(1)]["seconds"])
            assert rows[uuid_of(0)]["traps_per_second"] == 0
        top.send_signal(signal.SIGINT)
        assert top.wait(TIMEOUT) == 0
    assert counted == reads == daemon.json("stats", uuid_of(1))[0]["stats"]["traps_read"]


def test_top_engine(start):
    """Of a driver that counts its engines' time."""
    env = environment(UMDEV_DRIVER_PATH=f"{BUILD_DIR}/drivers/vgpu:{BUILD_DIR}/tests/drivers")
    daemon = start("vgpu,vram=8M", "plaindev", env=env)
    daemon.create("vgpu-8", "--uuid", uuid_of(1))
    daemon.create("plaindev-1", "--uuid", uuid_of(2))
    engines = {d["uuid"]: d["engine_percent"] for d in json.loads(daemon.output("top", "--json", "-n", "1", "-i", "1"))}
    assert engines == {uuid_of(1): 0, uuid_of(2): None}
    text = daemon.output("top", "-n", "1", "-i", "1")
    assert {line.split()[0]: line.split()[-1] for line in text.splitlines()[2:]} == {uuid_of(1): "0%", uuid_of(2): "-"}


def test_top_is_told_to_end(daemon):
    """By a signal, as a user ends it; and by its daemon's end."""
    for how in ("signal", "daemon"):
        with subprocess.Popen(
            [UMDEV, "top", "--dir", daemon.dir, "-i", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as top:
            assert top.stdout.readline() == "3 devices, 0 clients; per second:\n"
            if how == "signal":
                top.send_signal(signal.SIGINT)
                assert top.wait(TIMEOUT) == 0
            else:
                daemon.terminate()
                assert top.wait(TIMEOUT) == 1 and "umdev: top: " in top.stderr.read()


def test_top_in_80_columns(daemon):
    """No line is wrapped, or there would be more of them than there are."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    with subprocess.Popen([UMDEV, "top", "--dir", daemon.dir], stdin=slave, stdout=slave, stderr=slave) as top:
        seen = b""
        while seen.count(b"plaindev-1") == 0:
            seen += os.read(master, 4096)
        os.write(master, b"q")
        assert top.wait(TIMEOUT) == 0
    lines = re.sub(rb"\x1b\[[?0-9]*[a-zA-Z]", b"", seen).decode().splitlines()
    assert max(map(len, lines)) <= 80 and any(line.startswith("00000000  ") for line in lines)
    os.close(master)
    os.close(slave)


def test_top_on_a_terminal(daemon):
    """It draws the lines that there is room for, and gives the terminal back as it was."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 4, 120, 0, 0))
    before = termios.tcgetattr(slave)
    with subprocess.Popen([UMDEV, "top", "--dir", daemon.dir], stdin=slave, stdout=slave, stderr=slave) as top:
        seen = b""
        while b"more" not in seen:
            seen += os.read(master, 4096)
        assert termios.tcgetattr(slave) != before
        os.write(master, b"q")
        assert top.wait(TIMEOUT) == 0
    seen += os.read(master, 4096)
    assert termios.tcgetattr(slave) == before
    assert seen.startswith(b"\x1b[?1049h") and seen.endswith(b"\x1b[?1049l")
    assert "… and 2 more".encode() in seen
    assert uuid_of(0).encode() in seen
    os.close(master)
    os.close(slave)


# ------------------------------------------------------------------ CDI


def test_cdi_of_one(daemon):
    spec = json.loads(daemon.output("cdi", uuid_of(1)))
    check_cdi(spec)
    assert spec["kind"] == "umdev.org/plaindev"
    (device,) = spec["devices"]
    path = f"{daemon.dir}/{uuid_of(1)}"
    assert device["name"] == uuid_of(1)
    edits = device["containerEdits"]
    assert edits["env"] == [
        f"UMDEV_SOCKET={path}/socket", f"UMDEV_UUID={uuid_of(1)}",
        f"UMDEV_SOCKET_00000000_0000_4000_8000_000000000001={path}/socket",
    ]
    (mount,) = edits["mounts"]
    assert (mount["hostPath"], mount["containerPath"]) == (path, path) and "bind" in mount["options"]
    # What is mounted is there, with the socket in it.
    assert os.listdir(mount["hostPath"]) == ["socket"]


def test_cdi_of_all(daemon, folder):
    assert "give --output DIR" in daemon.fails("cdi")
    output = folder / "cdi"
    assert "No such file" in daemon.fails("cdi", "--output", str(output))
    output.mkdir()
    for _ in range(2):
        names = daemon.output("cdi", "--output", str(output)).splitlines()
        assert names == [f"{output}/umdev.org-testdev.json", f"{output}/umdev.org-plaindev.json"]
        assert sorted(os.listdir(output)) == ["umdev.org-plaindev.json", "umdev.org-testdev.json"]
        specs = [json.loads(open(name).read()) for name in names]
        for spec in specs:
            check_cdi(spec)
        assert [d["name"] for d in specs[0]["devices"]] == [uuid_of(0), uuid_of(2)]
    for uuid in daemon.uuids():
        daemon.output("remove", uuid)
    assert "there is no device" in daemon.fails("cdi")


def test_cdi_check_finds_mistakes():
    good = {
        "cdiVersion": "0.6.0", "kind": "umdev.org/a",
        "devices": [{"name": "x", "containerEdits": {"env": ["A=b"]}}],
    }
    check_cdi(good)
    for key, value in (
        ("cdiVersion", "6"), ("kind", "umdev"), ("kind", "-/a"), ("devices", []), ("more", 1),
        ("devices", [{"name": "x"}]), ("devices", [{"name": "x", "containerEdits": {}}]),
        ("devices", [{"name": "-", "containerEdits": {"env": ["A=b"]}}]),
        ("devices", [{"name": "x", "containerEdits": {"env": ["A"]}}]),
        ("devices", [{"name": "x", "containerEdits": {"mounts": [{"hostPath": "/a"}]}}]),
    ):
        with pytest.raises(AssertionError):
            check_cdi({**good, key: value})
