# SPDX-License-Identifier: BSD-3-Clause
"""The management tree of a daemon: the same devices as files; tests/sysfs has the files themselves."""

import os
import signal
import threading

import pytest
from daemon import Daemon, uuid_of, wait_for

TYPE = "devices/umdev/{}/mdev_supported_types/treedev-{}"


@pytest.fixture
def begin(folder):
    """A daemon with a tree: parent a here, parent b isolated."""
    daemons = []

    def make(**options):
        words = ["--sysfs", folder / "sys"]
        daemons.append(Daemon(folder, "treedev,name=a", "treedev,name=b,isolate=yes", words=words, ready=False,
                              **options))
        daemon = daemons[-1]
        if not daemon.process.stdout.readline():
            daemon.process.wait()
            if not os.path.exists("/dev/fuse") or "no management tree" in daemon.stderr():
                pytest.skip(daemon.stderr().splitlines()[-1])
            raise AssertionError(daemon.stderr())
        daemon.sys = folder / "sys"
        return daemon

    yield make
    for daemon in daemons:
        daemon.end()


def store(path, data):
    """In a file that is there: one write."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def create(daemon, parent, kind, uuid):
    store(daemon.sys / TYPE.format(parent, kind) / "create", uuid.encode() + b"\n")


def devices(daemon):
    return sorted(os.listdir(daemon.sys / "bus/mdev/devices"))


def test_both_ways(begin, folder):
    daemon = begin(state=True)
    create(daemon, "a", "small", uuid_of(1))
    create(daemon, "b", "big", uuid_of(2))
    daemon.create("treedev-small", "--parent", "b", "--uuid", uuid_of(3), "--persist")
    assert devices(daemon) == sorted(daemon.uuids()) == [uuid_of(i) for i in (1, 2, 3)]
    assert (daemon.sys / TYPE.format("b", "big") / "available_instances").read_text() == "1\n"
    for i in (1, 2, 3):
        device = daemon.sys / "bus/mdev/devices" / uuid_of(i)
        assert (device / "umdev/socket").read_text() == f"{daemon.dir}/{uuid_of(i)}/socket\n"
        with daemon.client(uuid_of(i)) as client:
            client.get_info()
            assert (device / "umdev/stats/sessions").read_text() == "1\n"
            (device / "remove").write_text("1\n")
            client.expect_closed()
    assert devices(daemon) == daemon.uuids() == [] == os.listdir(daemon.state)
    with pytest.raises(FileExistsError):
        create(daemon, "a", "small", uuid_of(4))
        create(daemon, "b", "small", uuid_of(4))
    daemon.terminate()
    assert not daemon.sys.exists()


def test_attributes(begin):
    """As files, and at the control socket; here and in another process."""
    daemon = begin()
    for parent, uuid in (("a", uuid_of(1)), ("b", uuid_of(2))):
        create(daemon, parent, "small", uuid)
        device = daemon.sys / "bus/mdev/devices" / uuid
        assert (device / "value").read_text() == "unset\n"
        (device / "value").write_text("some\n")
        with daemon.control() as control:
            names = control.ask("attributes", uuid)["result"]["attributes"]
            assert {"name": "value", "readable": True, "writable": True} in names
            assert {"name": "kick", "readable": False, "writable": True} in names
            request = {"command": "attribute", "device": uuid, "attribute": "value"}
            assert control.request(request)["result"]["value"] == "some\n"
            assert control.request({**request, "value": "other"})["result"] == {}
            assert control.request({**request, "attribute": "nosuch"})["error"]["errno"] == "ENOENT"
            assert control.request({**request, "device": uuid_of(9)})["error"]["errno"] == "ENODEV"
            assert control.request({**request, "attribute": "broken"})["error"]["errno"] == "EBUSY"
            assert control.request({**request, "attribute": "liar"})["error"]["errno"] == "EIO"
            assert control.ask("attributes", uuid_of(9))["error"]["errno"] == "ENODEV"
            assert control.ask("attributes")["error"]["errno"] == "EINVAL"
        assert (device / "value").read_text() == "other\n"
        assert (device / "page").read_text() == "x" * 4096


def test_attributes_of_parents_and_types(begin):
    daemon = begin()
    for parent in "ab":
        folder = daemon.sys / "devices/umdev" / parent
        types = folder / "mdev_supported_types"
        store(folder / "level", b"7\n")
        store(types / "treedev-big/weight", b"5\n")
        assert (folder / "level").read_text() == "7\n"
        assert (types / "treedev-big/weight").read_text() == "5 of 1\n"
        with daemon.control() as control:
            of_parent, of_type = {"parent": parent}, {"parent": parent, "type": "treedev-big"}
            for owner, name, value in ((of_parent, "level", "7\n"), (of_type, "weight", "5 of 1\n")):
                listed = control.request({"command": "attributes", **owner})["result"]["attributes"]
                assert listed == [{"name": name, "readable": True, "writable": True}]
                request = {"command": "attribute", "attribute": name, **owner}
                assert control.request(request)["result"]["value"] == value
                assert control.request({**request, "value": "1"})["result"] == {}
                assert control.request({**request, "attribute": "x"})["error"]["errno"] == "ENOENT"
                assert control.request({**request, "parent": "x"})["error"]["errno"] == "ENODEV"
                assert control.request({**request, "type": "x"})["error"]["errno"] == "ENOENT"
            assert control.request({**request, "device": uuid_of(1)})["error"]["errno"] == "EINVAL"
            assert control.request({"command": "attributes", "type": "x"})["error"]["errno"] == "EINVAL"
        assert (folder / "level").read_text() == "1\n"


def test_a_crash_is_seen(begin):
    """A file that is open for a device that is gone is of no later one."""
    daemon = begin(state=True)
    daemon.create("treedev-small", "--parent", "b", "--uuid", uuid_of(1), "--persist")
    create(daemon, "a", "small", uuid_of(2))
    path = daemon.sys / "bus/mdev/devices" / uuid_of(1) / "umdev/connected"
    inode = path.stat().st_ino
    (worker,) = daemon.children()
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: "it has a process again" in daemon.stderr() and path.exists(), "no new process")
    assert path.stat().st_ino != inode
    assert devices(daemon) == [uuid_of(1), uuid_of(2)]


def test_storm(begin):
    """Files and the control socket at the same time."""
    daemon = begin()
    failures = []

    def by_files(parent):
        for i in range(40):
            uuid = uuid_of(i % 4)
            try:
                create(daemon, parent, "small", uuid)
                os.listdir(daemon.sys / "bus/mdev/devices")
                store(daemon.sys / "bus/mdev/devices" / uuid / "remove", b"1\n")
            except (FileExistsError, FileNotFoundError, BlockingIOError):
                pass
            except OSError as error:
                if error.errno not in (19,):  # ENODEV: somebody else was faster
                    failures.append(error)

    def by_socket():
        with daemon.control() as control:
            for i in range(40):
                control.request({"command": "create", "type": "treedev-small", "uuid": uuid_of(i % 4)})
                control.ask("list")
                control.ask("remove", uuid_of(i % 4))

    threads = [threading.Thread(target=by_files, args=(parent,)) for parent in "abab"]
    threads += [threading.Thread(target=by_socket) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    for uuid in daemon.uuids():
        daemon.output("remove", uuid)
    assert devices(daemon) == [] and sorted(os.listdir(daemon.dir)) == ["control", "lock"]


def test_killed(begin):
    """What a dead daemon has mounted is in the next one's way as little as its sockets are."""
    daemon = begin()
    create(daemon, "a", "small", uuid_of(1))
    daemon.kill()
    daemon = begin()
    assert devices(daemon) == []
    create(daemon, "a", "small", uuid_of(1))
    daemon.terminate()
    assert os.listdir(daemon.sys) == []


def test_no_place_for_it(start, folder):
    (folder / "plain").write_text("")
    daemon = Daemon(folder, "treedev", words=["--sysfs", folder / "plain"], ready=False)
    assert daemon.process.wait() == 1 and "no management tree at" in daemon.stderr()
    assert not daemon.dir.exists()
    daemon.end()
