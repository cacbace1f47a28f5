# SPDX-License-Identifier: BSD-3-Clause
"""What a daemon that was killed leaves, and what comes back."""

import json
import os
import socket

import pytest
import vfiouser as vu
from daemon import uuid_of


def test_persistent_devices_come_back(start):
    daemon = start("testdev,name=a", "plaindev,name=b", state=True)
    kept = daemon.create("testdev-1", "--persist")[0]
    daemon.create("plaindev-1", "--persist", "--uuid", uuid_of(1))
    gone = daemon.create("testdev-1")[0]
    assert {d["uuid"]: d["persistent"] for d in daemon.json("list")} == {kept: True, uuid_of(1): True, gone: False}
    daemon.terminate()
    daemon = start("testdev,name=a", "plaindev,name=b", state=True)
    devices = {d["uuid"]: (d["type"], d["parent"], d["socket"], d["persistent"]) for d in daemon.json("list")}
    assert devices == {
        kept: ("testdev-1", "a", f"{daemon.dir}/{kept}/socket", True),
        uuid_of(1): ("plaindev-1", "b", f"{daemon.dir}/{uuid_of(1)}/socket", True),
    }
    with daemon.client(kept) as client:
        client.get_info()
    daemon.output("remove", kept)
    daemon.terminate()
    assert os.listdir(daemon.state) == [f"{uuid_of(1)}.json"]
    assert start("testdev,name=a", "plaindev,name=b", state=True).uuids() == [uuid_of(1)]


def test_killed(start):
    """Sockets and directories of a dead daemon are in nobody's way; its clients see its end."""
    daemon = start("testdev", "plaindev,isolate=yes", state=True)
    uuids = [daemon.create("testdev-1", "--persist")[0], daemon.create("testdev-1")[0], daemon.create("plaindev-1")[0]]
    clients = [daemon.client(uuid) for uuid in uuids]
    daemon.kill()
    for client in clients:
        client.expect_closed()
        client.close()
    assert sorted(os.listdir(daemon.dir)) == sorted([*uuids, "control", "lock"])
    with pytest.raises(ConnectionRefusedError):
        daemon.client(uuids[0])
    message = daemon.fails("list")
    assert "nobody listens" in message and "umdev daemon" in message
    daemon = start("testdev", "plaindev,isolate=yes", state=True)
    assert daemon.uuids() == uuids[:1]
    assert sorted(os.listdir(daemon.dir)) == sorted([uuids[0], "control", "lock"])
    with daemon.client(uuids[0]) as client:
        client.get_info()


def test_broken_files_are_skipped(start, folder):
    state = folder / "state"
    state.mkdir()
    good = {"uuid": uuid_of(5), "type": "testdev-1", "parent": "testdev0"}
    files = {
        uuid_of(0): b"",
        uuid_of(1): b"{",
        uuid_of(2): b"\xff\xfe\0",
        uuid_of(3): b"[]",
        uuid_of(4): json.dumps(good).encode(),
        uuid_of(5): json.dumps(good).encode(),
        uuid_of(6): json.dumps({**good, "uuid": uuid_of(6), "parent": "other"}).encode(),
        uuid_of(7): json.dumps({**good, "uuid": uuid_of(7), "type": "other"}).encode(),
        uuid_of(8): json.dumps({**good, "uuid": 8}).encode(),
        uuid_of(9): b" " * 100000,
        "name": json.dumps({**good, "uuid": "name"}).encode(),
    }
    for name, content in files.items():
        (state / f"{name}.json").write_bytes(content)
    (state / "folder.json").mkdir()
    (state / "link.json").symlink_to(state / f"{uuid_of(5)}.json")
    os.mkfifo(state / "fifo.json")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(state / "socket.json"))
    (state / f"{uuid_of(5)}.json.new").write_text("half a fi")
    daemon = start("testdev", state=True)
    assert daemon.uuids() == [uuid_of(5)]
    lines = daemon.stderr().splitlines()
    for name in (*files, "folder", "link", "fifo", "socket"):
        told = [line for line in lines if name in line]
        assert (len(told) == 0) == (name == uuid_of(5)) or name == uuid_of(5), (name, lines)
    assert any("no parent 'other'; known: testdev0" in line for line in lines)
    assert any("no type 'other' with parent testdev0" in line for line in lines)
    # They are left for a person to look at; remove drops what is not there, too.
    assert len(os.listdir(state)) == len(files) + 5
    assert daemon.output("remove", uuid_of(6)) == ""
    assert not (state / f"{uuid_of(6)}.json").exists()


def test_no_room_for_all(start):
    """What does not fit any more stays kept."""
    daemon = start("testdev,name=a", "testdev,name=b", state=True)
    for i in range(16):
        daemon.create("testdev-1", "--persist", "--parent", "a", "--uuid", uuid_of(i))
    daemon.terminate()
    kept = daemon.state / f"{uuid_of(99)}.json"
    kept.write_text(json.dumps({"uuid": uuid_of(99), "type": "testdev-1", "parent": "a"}))
    daemon = start("testdev,name=a", "testdev,name=b", state=True)
    assert daemon.uuids() == [uuid_of(i) for i in range(16)]
    assert f"{uuid_of(99)}: can't come back: no room" in daemon.stderr()
    daemon.output("remove", uuid_of(0))
    daemon.terminate()
    assert uuid_of(99) in start("testdev,name=a", "testdev,name=b", state=True).uuids()


@pytest.mark.skipif(os.geteuid() == 0 and not os.path.exists("/dev/full"), reason="no /dev/full")
def test_state_that_cannot_be_written(start, folder):
    """No device that would not come back."""
    daemon = start("testdev", state=True)
    (daemon.state / f"{uuid_of(1)}.json.new").symlink_to("/dev/full")
    message = daemon.fails("create", "testdev-1", "--persist", "--uuid", uuid_of(1))
    assert f"can't keep device {uuid_of(1)} in '{daemon.state}'" in message
    assert daemon.uuids() == [] and sorted(os.listdir(daemon.dir)) == ["control", "lock"]


def test_state_directory_of_systemd(start, folder):
    from daemon import environment

    (folder / "state").mkdir()
    env = environment(RUNTIME_DIRECTORY=f"{folder}/run:/nowhere", STATE_DIRECTORY=f"{folder}/state:/nowhere")
    (folder / "run").mkdir()
    daemon = start("testdev", env=env, dir_option=False)
    uuid, _ = daemon.create("testdev-1", "--persist")
    daemon.terminate()
    assert os.listdir(folder / "state") == [f"{uuid}.json"]
    # systemd made the run directory, and systemd removes it.
    assert os.listdir(folder / "run") == []


def test_counters_begin_anew(start):
    daemon = start("testdev", state=True)
    uuid, _ = daemon.create("testdev-1", "--persist")
    with daemon.client(uuid) as client:
        client.read(vu.BAR2, 0, 4)
    daemon.kill()
    daemon = start("testdev", state=True)
    assert daemon.json("show", uuid)[0]["stats"]["traps_read"] == 0
