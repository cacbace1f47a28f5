# SPDX-License-Identifier: BSD-3-Clause
"""isolate=yes: a parent in a process of its own, whose end is nobody else's."""

import errno
import os
import signal
import time
from pathlib import Path

import faultclient as fc
import faultdev as fd
import pytest
import vfiouser as vu
from daemon import uuid_of, wait_for


def worker_of(daemon):
    (pid,) = daemon.children()
    return pid


def test_the_same_from_outside(start):
    """But for the process, it is like any other parent."""
    daemon = start("testdev,name=in", "testdev,name=out,isolate=yes")
    found = {}
    for parent in ("in", "out"):
        uuid, path = daemon.create("testdev-1", "--parent", parent)
        with daemon.client(uuid) as client:
            client.read(vu.BAR2, 0, 8)
            device = daemon.json("show", uuid)[0]
            assert device["connected"] is True and device["socket"] == path and device["parent"] == parent
            found[parent] = {**device["stats"], "type": device["type"], "driver": device["driver"]}
        types = [t for t in daemon.json("types") if t["parent"] == parent]
        found[parent]["types"] = [{**t, "parent": ""} for t in types]
        for words in (
            ("create", "testdev-1", "--parent", parent, "--uuid", uuid),
            ("screenshot", uuid, "x.png"),
        ):
            found[parent][words[0]] = daemon.fails(*words).replace(uuid, "U")
        daemon.output("remove", uuid)
        assert not os.path.exists(path)
    assert found["in"] == found["out"]
    assert len(daemon.children()) == 1


def test_a_screen(start, folder):
    from server import BUILD_DIR

    from daemon import environment

    env = environment(UMDEV_DRIVER_PATH=str(BUILD_DIR / "drivers/vgpu"))
    daemon = start("vgpu,vram=16M,isolate=yes,name=out", "vgpu,vram=16M,name=in", env=env)
    for parent in ("in", "out"):
        uuid, _ = daemon.create("vgpu-8", "--parent", parent)
        assert "is off" in daemon.fails("screenshot", uuid, f"{folder}/{parent}.png")
        with daemon.client(uuid) as client:
            for index, value in ((4, 0), (3, 32), (1, 64), (2, 48), (4, 0x41)):
                client.write(vu.BAR2, 0x500 + 2 * index, value.to_bytes(2, "little"))
            client.write(vu.BAR0, 0, bytes(range(256)) * 48)
            if not (BUILD_DIR / "src/screenshot/umdev-screenshot").exists():
                return
            done = daemon.json("screenshot", uuid, f"{folder}/{parent}.png")
        assert (done["width"], done["height"], done["uuid"]) == (64, 48, uuid)
        assert done["file"] == f"{folder}/{parent}.png"
    assert (folder / "in.png").read_bytes() == (folder / "out.png").read_bytes()


def test_crash(start):
    daemon = start("testdev,name=safe", "testdev,name=risky,isolate=yes", state=True)
    safe, _ = daemon.create("testdev-1", "--parent", "safe")
    lost, path = daemon.create("testdev-1", "--parent", "risky")
    kept, _ = daemon.create("testdev-1", "--parent", "risky", "--persist")
    worker = worker_of(daemon)
    with daemon.client(safe) as neighbour, daemon.client(lost) as client, daemon.client(kept) as other:
        os.kill(worker, signal.SIGKILL)
        client.expect_closed()
        other.expect_closed()
        # What is persistent comes back, with a new process.
        wait_for(lambda: kept in daemon.uuids() and daemon.children() != [worker], daemon.stderr())
        neighbour.get_info()
    assert sorted(daemon.uuids()) == sorted([safe, kept])
    assert not os.path.exists(os.path.dirname(path))
    with daemon.client(kept) as client:
        client.read(vu.BAR2, 0, 4)
    told = daemon.stderr()
    assert "risky: its process was ended by SIGKILL" in told and "risky: 2 devices went with it" in told
    daemon.create("testdev-1", "--parent", "risky", "--uuid", lost)
    daemon.terminate()


def test_a_crash_each_second_is_not_met_by_more(start):
    """The pause grows, and meanwhile the parent says what is the matter."""
    daemon = start("testdev,name=a", "testdev,name=b,isolate=yes")
    for starts in range(4):
        wait_for(lambda: daemon.stderr().count("it has a process again") == starts, daemon.stderr())
        os.kill(worker_of(daemon), signal.SIGKILL)
        wait_for(lambda: daemon.stderr().count("ended by SIGKILL") == starts + 1, daemon.stderr())
    # 100 ms, 200, 400: the next one is 800 ms away.
    message = daemon.fails("create", "testdev-1", "--parent", "b")
    assert message == "umdev: create: parent b is not there now: its process ended, and is started again\n"
    assert [t["parent"] for t in daemon.json("types")] == ["a"]
    daemon.create("testdev-1")
    wait_for(lambda: daemon.children(), daemon.stderr())
    wait_for(lambda: len(daemon.json("types")) == 2, daemon.stderr())
    daemon.create("testdev-1", "--parent", "b")


def test_a_worker_does_not_outlive_its_daemon(start):
    daemon = start("plaindev,isolate=yes")
    worker = worker_of(daemon)
    daemon.create("plaindev-1")
    daemon.kill()
    wait_for(lambda: not Path(f"/proc/{worker}").exists() or zombie(worker), "the worker lives on")


def zombie(pid):
    """Nobody in a container may be there to wait for it."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def test_no_fd_is_inherited(start):
    """A worker has its socket and nothing of the daemon's."""
    daemon = start("testdev", "plaindev,isolate=yes", "plaindev,isolate=yes")
    daemon.create("testdev-1")
    for pid in daemon.children():
        fds = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        assert not any(str(daemon.dir) in fd for fd in fds), fds
        assert sum(fd.startswith("socket:") for fd in fds) <= 1, fds


def test_a_signal_for_the_whole_terminal(start, folder):
    """Ctrl-C reaches the workers, too: they leave the end to the daemon."""
    daemon = start("testdev,isolate=yes")
    uuid, _ = daemon.create("testdev-1")
    with daemon.client(uuid) as client:
        os.kill(worker_of(daemon), signal.SIGINT)
        os.kill(worker_of(daemon), signal.SIGTERM)
        time.sleep(0.05)
        client.get_info()
        daemon.terminate(signal.SIGINT)
    assert os.listdir(folder) == ["stderr"]


def test_a_worker_that_is_busy(start):
    """Who asks what there is need not wait for it."""
    daemon = start("treedev,name=a", "treedev,name=b,isolate=yes,slow_ms=25000")
    for i, parent in enumerate("ab"):
        daemon.create("treedev-small", "--parent", parent, "--uuid", uuid_of(i))
    types = daemon.json("types")
    with daemon.control() as waiting, daemon.control() as looking:
        waiting.send(b'{"command": "create", "type": "treedev-slow", "parent": "b"}\n')
        for _ in range(3):
            devices = looking.ask("list")["result"]["devices"]
            assert [(d["uuid"], d["parent"]) for d in devices] == [(uuid_of(0), "a"), (uuid_of(1), "b")]
            assert devices[1]["socket"] == f"{daemon.dir}/{uuid_of(1)}/socket"
            found = looking.ask("types")["result"]["types"]
            assert [(t["name"], t["parent"]) for t in found] == [(t["name"], t["parent"]) for t in types]
        waiting.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting.socket.recv(1)
        # It would wait for the driver.
        daemon.kill()


@pytest.mark.parametrize("trusted", [True, False])
def test_trusted_clients(start, trusted):
    """What devices share goes to clients that are declared trusted, wherever the parent is; to others never."""
    daemon = start("faultdev,name=in", "faultdev,name=out,isolate=yes", words=["--trust-clients"] if trusted else [])
    for parent in ("in", "out"):
        uuid, path = daemon.create(daemon.json("types")[0]["name"], "--parent", parent)
        with vu.Client(path) as client:
            client.negotiate(text=fc.CAPABILITIES)
            with fc.Channel(client) as channel:
                fd.entry(client, 0, fd.SHARED, 3)
                if trusted:
                    channel.fault(fd.TABLE, 0)
                else:
                    channel.refused(errno.EPERM, fd.TABLE, 0)
                assert len(channel.objects) == trusted
