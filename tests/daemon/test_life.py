# SPDX-License-Identifier: BSD-3-Clause
"""The life of a daemon and its devices: parents, creation, removal, ends, storms, many devices."""

import os
import random
import signal
import stat
import subprocess
import threading

import pytest
import vfiouser as vu
from daemon import TIMEOUT, UMDEV, UUID, environment, umdev, uuid_of


def test_one_device(start, folder):
    daemon = start("testdev")
    uuid, path = daemon.create("testdev-1")
    assert UUID.fullmatch(uuid) and path == f"{daemon.dir}/{uuid}/socket"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with daemon.client(uuid) as client:
        assert client.read(vu.BAR1, 0, 4) == b"test"
        (device,) = daemon.json("list")
        assert device == {
            "uuid": uuid, "type": "testdev-1", "parent": "testdev0", "driver": "testdev", "socket": path,
            "connected": True, "persistent": False,
        }
        assert daemon.output("remove", uuid) == ""
        client.expect_closed()
    assert daemon.json("list") == [] and not os.path.exists(os.path.dirname(path))
    assert daemon.fails("remove", uuid) == f"umdev: remove: there is no device {uuid}\n"
    daemon.terminate()
    assert os.listdir(folder) == ["stderr"]


def test_several_parents(start):
    daemon = start("testdev,name=a", "plaindev", "testdev", "testdev")
    types = daemon.json("types")
    assert [(t["name"], t["parent"], t["available"]) for t in types] == [
        ("testdev-1", "a", 16), ("plaindev-1", "plaindev0", None), ("testdev-1", "testdev0", 16),
        ("testdev-1", "testdev1", 16),
    ]
    table = daemon.output("types").splitlines()
    assert table[0].split() == ["TYPE", "PARENT", "FREE", "DESCRIPTION"]
    assert table[1].split(maxsplit=3) == ["testdev-1", "a", "16", "one of everything"]
    assert table[2].split()[2] == "any"
    assert len({line.index(table[i].split()[1]) for i, line in enumerate(table) if i}) == 1
    # The first that has room, or the one that is named.
    for i in range(17):
        daemon.create("testdev-1", "--uuid", uuid_of(i))
    daemon.create("testdev-1", "--parent", "testdev1")
    parents = [device["parent"] for device in daemon.json("list")]
    assert parents == ["a"] * 16 + ["testdev0", "testdev1"]
    full = daemon.fails("create", "testdev-1", "--parent", "a")
    assert full == "umdev: create: no room for another testdev-1 with parent a: remove one\n"
    daemon.output("remove", uuid_of(3))
    daemon.create("testdev-1", "--parent", "a")


def test_a_type_that_is_alone(start):
    """The table is as wide as it has to be, and no more."""
    daemon = start("testdev")
    assert daemon.output("types") == "TYPE          FREE  DESCRIPTION\ntestdev-1     16    one of everything\n"


def test_errors(start):
    daemon = start("testdev,name=a", "plaindev,name=b")
    known = daemon.create("testdev-1", "--uuid", uuid_of(1).upper())[0]
    assert known == uuid_of(1)
    cases = {
        ("create", "nosuch"): "no type 'nosuch'; known: testdev-1, plaindev-1",
        ("create", "plaindev-1", "--parent", "a"): "no type 'plaindev-1' with parent a; known: testdev-1",
        ("create", "testdev-1", "--parent", "c"): "no parent 'c'; known: a, b",
        ("create", "testdev-1", "--uuid", "xyz"): "'xyz' is not a UUID: write 36 characters, as in "
        "123e4567-e89b-12d3-a456-426614174000",
        ("create", "testdev-1", "--uuid", known): f"there is a device {known} already",
        ("create", "plaindev-1", "--uuid", known): f"there is a device {known} already",
        ("create", "testdev-1", "--persist"): "this daemon keeps no devices: it was started without --state DIR",
        ("remove", "xyz"): "there is no device xyz",
        ("remove", uuid_of(2)): f"there is no device {uuid_of(2)}",
        ("show", uuid_of(2)): f"there is no device {uuid_of(2)}",
        ("stats", "xyz"): "there is no device xyz",
        ("cdi", uuid_of(2)): f"there is no device {uuid_of(2)}",
        ("screenshot", known, "x.png"): f"device {known} has no screen",
    }
    for words, message in cases.items():
        assert daemon.fails(*words) == f"umdev: {words[0]}: {message}\n"
    assert daemon.uuids() == [known]
    # Nothing is left of what failed.
    assert sorted(os.listdir(daemon.dir)) == sorted(["control", "lock", known])


def test_start_errors(folder):
    plain = folder / "plain"
    plain.write_text("")
    driver = ["--parent", "testdev"]
    cases = (
        (["--dir", "d"], 2, "which parent"),
        ([*driver, "--dir", "missing/d"], 1, "missing/d"),
        ([*driver, "--dir", "plain"], 1, "'plain': Not a directory"),
        ([*driver, "--dir", "x" * 70], 1, "at most 63"),
        ([*driver, "--dir", "d", "--state", "plain"], 1, "state directory 'plain'"),
        ([*driver, "--dir", "d", "--mode", "9"], 2, "'9'"),
        ([*driver, "--dir", "d", "--group", "no such"], 2, "'no such'"),
        ([*driver, "--dir", "d", "more"], 2, "'more'"),
        ([*driver, "--frob"], 2, "--frob"),
        (["--parent", "nosuch", "--dir", "d"], 1, "nosuch"),
        (["--parent", "nosuch,isolate=yes", "--dir", "d"], 1, "nosuch"),
        (["--parent", "testdev,isolate=perhaps", "--dir", "d"], 2, "'perhaps'"),
        (["--parent", "testdev,frob", "--dir", "d"], 2, "'frob'"),
        (["--parent", "testdev,frob=1", "--dir", "d"], 1, "frob"),
        (["--parent", ",name=x", "--dir", "d"], 2, "no driver"),
        (["--parent", "testdev,name=x", "--parent", "plaindev,name=x", "--dir", "d"], 1, "'x'"),
        (["--parent", "testdev,name=a/b", "--dir", "d"], 1, "a/b"),
    )
    for words, code, message in cases:
        done = umdev("daemon", *words, cwd=folder)
        assert (done.returncode, done.stdout) == (code, "") and message in done.stderr, (words, done)
        assert done.stderr.startswith("umdev: daemon: "), done.stderr
        assert os.listdir(folder) == ["plain"], words


def test_where_it_is(folder):
    """Directories that nobody named."""
    run = folder / "run"
    run.mkdir()
    for variable in ({"RUNTIME_DIRECTORY": f"{run}/a:{run}/b"}, {"UMDEV_DIR": f"{run}/a"}):
        done = umdev("daemon", "--parent", "nosuch", env=environment(**variable))
        assert "nosuch" in done.stderr and os.listdir(run) == []
    if os.geteuid() == 0:
        return
    done = umdev("daemon", "--parent", "nosuch", env=environment(XDG_RUNTIME_DIR=""))
    assert done.returncode == 2 and "--dir" in done.stderr


def test_commands_find_it(start):
    daemon = start("testdev")
    for env in ({"UMDEV_DIR": str(daemon.dir)}, {"UMDEV_CONTROL": f"{daemon.dir}/control"}):
        assert "testdev-1" in umdev("types", env=environment(**env)).stdout
    assert "testdev-1" in umdev("types", "--control", f"{daemon.dir}/control").stdout
    both = umdev("types", "--control", "x", "--dir", "y")
    assert both.returncode == 2 and "not both" in both.stderr
    none = umdev("types", "--dir", "missing")
    assert none.returncode == 1 and "'missing/control'; start 'umdev daemon'" in none.stderr


def test_mode_and_group(start):
    group = random.choice(os.getgroups()) if os.geteuid() else 12345
    daemon = start("testdev", words=("--group", str(group)))
    for path in (daemon.create("testdev-1")[1], f"{daemon.dir}/control"):
        status = os.stat(path)
        assert stat.S_IMODE(status.st_mode) == 0o660 and status.st_gid == group
    daemon.terminate()
    daemon = start("testdev", words=("--mode", "606"))
    assert stat.S_IMODE(os.stat(daemon.create("testdev-1")[1]).st_mode) == 0o606


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_another_user(start):
    """Whoever may not write to the sockets gets nowhere; nothing else keeps a group's member out."""
    daemon = start("testdev", words=("--group", "12345"))
    for path in (daemon.dir, *daemon.dir.parents):
        if path.stat().st_uid == os.getuid() and str(path).startswith("/tmp/"):
            path.chmod(path.stat().st_mode | 0o055)
    uuid, _ = daemon.create("testdev-1")

    def ask(groups):
        return umdev("show", uuid, "--dir", str(daemon.dir), user=54321, group=54321, extra_groups=groups)

    assert "Permission denied" in ask([]).stderr
    assert ask([12345]).stdout.startswith(uuid)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_nobody_in_particular(folder):
    """Without root and without a word about directories: a user's own daemon, that his commands find."""
    runtime = folder / "xdg"
    runtime.mkdir()
    folder.chmod(0o755)
    os.chown(runtime, 54321, 54321)
    env = environment(XDG_RUNTIME_DIR=str(runtime))
    user = {"user": 54321, "group": 54321, "extra_groups": []}
    with subprocess.Popen(
        [UMDEV, "daemon", "--parent", "testdev", "--parent", "plaindev,isolate=yes"], env=env,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **user,
    ) as process:
        try:
            assert process.stdout.readline() == f"{runtime}/umdev/control\n"
            for kind in ("testdev-1", "plaindev-1"):
                _, path = umdev("create", kind, env=env, **user).stdout.split()
                with vu.Client(path) as client:
                    client.negotiate()
            assert len(umdev("list", env=env, **user).stdout.splitlines()) == 3
        finally:
            process.terminate()
        assert process.wait(TIMEOUT) == 0, process.stderr.read()
    assert os.listdir(runtime) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_stop_with_clients(start, folder, number):
    daemon = start("testdev", "plaindev,isolate=yes")
    uuids = [daemon.create(kind)[0] for kind in ("testdev-1", "testdev-1", "plaindev-1")]
    clients = [daemon.client(uuid) for uuid in uuids]
    silent = vu.Client(f"{daemon.dir}/{uuids[0]}/socket")
    asking = daemon.control()
    asking.send(b'{"comm')
    daemon.terminate(number)
    for client in (*clients, silent):
        client.expect_closed()
        client.close()
    assert asking.answer() is None
    asking.close()
    assert os.listdir(folder) == ["stderr"]


def test_two_in_a_directory(start, folder):
    daemon = start("testdev")
    uuid, path = daemon.create("testdev-1")
    done = umdev("daemon", "--parent", "testdev", "--dir", str(daemon.dir))
    assert done.returncode == 1
    assert done.stderr == (
        f"umdev: daemon: the run directory '{daemon.dir}' belongs to another daemon, process {daemon.pid}; "
        "use another --dir, or end that one\n"
    )
    with daemon.client(uuid) as client:
        client.get_info()
    daemon.terminate()
    start("testdev")


def test_others_files_are_left_alone(start, folder):
    run = folder / "run"
    (run / "other").mkdir(parents=True)
    (run / "file").write_text("mine")
    (run / uuid_of(1)).mkdir()
    (run / uuid_of(1) / "file").write_text("mine")
    (run / uuid_of(2)).mkdir()
    (run / uuid_of(3)).symlink_to(run / "other")
    daemon = start("testdev")
    assert not (run / uuid_of(2)).exists()
    daemon.terminate()
    assert sorted(os.listdir(run)) == sorted(["other", "file", uuid_of(1), uuid_of(3)])
    assert (run / uuid_of(1) / "file").read_text() == "mine"


def test_storm(start):
    """Many who create and remove at the same time, also each other's devices."""
    daemon = start("plaindev,name=a", "testdev,name=b", "plaindev,name=c,isolate=yes")
    failures = []

    def work(seed):
        rng = random.Random(seed)
        mine = []
        with daemon.control() as control:
            for i in range(60):
                kind, parent = rng.choice((("plaindev-1", "a"), ("testdev-1", "b"), ("plaindev-1", "c")))
                request = {"command": "create", "type": kind, "parent": parent}
                if rng.random() < 0.5:
                    request["uuid"] = uuid_of(rng.randrange(8))
                answer = control.request(request)
                if "result" in answer:
                    mine.append(answer["result"]["uuid"])
                elif answer["error"]["errno"] not in ("EEXIST", "EUSERS"):
                    failures.append((seed, request, answer))
                if mine and rng.random() < 0.6:
                    answer = control.ask("remove", mine.pop(rng.randrange(len(mine))))
                    if answer.get("error", {}).get("errno") not in (None, "ENODEV", "EAGAIN"):
                        failures.append((seed, answer))
                elif rng.random() < 0.3:
                    control.ask("remove", uuid_of(rng.randrange(8)))
                if rng.random() < 0.2 and "result" not in control.ask("show"):
                    failures.append((seed, "show"))
            for uuid in mine:
                control.ask("remove", uuid)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT * 4)
    assert not failures
    for uuid in daemon.uuids():
        daemon.output("remove", uuid)
    assert sorted(os.listdir(daemon.dir)) == ["control", "lock"]
    assert [t["available"] for t in daemon.json("types")] == [None, 16, None]
    daemon.check()


@pytest.mark.parametrize("parent", ["plaindev", "plaindev,isolate=yes"], ids=["here", "isolated"])
def test_a_thousand_devices(start, folder, parent):
    daemon = start(parent)
    with daemon.control() as control:
        before = len(os.listdir(f"/proc/{daemon.pid}/task"))
        for i in range(1000):
            answer = control.request({"command": "create", "type": "plaindev-1", "uuid": uuid_of(i)})
            assert answer["result"]["socket"] == f"{daemon.dir}/{uuid_of(i)}/socket"
        # A device without a client has no thread.
        assert len(os.listdir(f"/proc/{daemon.pid}/task")) == before
        assert [d["uuid"] for d in control.ask("list")["result"]["devices"]] == [uuid_of(i) for i in range(1000)]
        for i in (0, 500, 999):
            with daemon.client(uuid_of(i)) as client:
                client.get_info()
        for i in range(0, 1000, 2):
            assert "result" in control.ask("remove", uuid_of(i))
        assert len(control.ask("show")["result"]["devices"]) == 500
    assert len(os.listdir(daemon.dir)) == 502
    daemon.terminate()
    assert os.listdir(folder) == ["stderr"]


def test_a_slow_driver_is_nobody_elses_trouble(start):
    """While it creates and removes, others are served, and it comes to a clean end."""
    daemon = start("treedev,name=slow,slow_ms=1500", "plaindev")
    with daemon.control() as waiting, daemon.control() as busy:
        waiting.send(b'{"command": "create", "type": "treedev-slow", "uuid": "%s"}\n' % uuid_of(1).encode())
        waiting.send(b'{"command": "list"}\n')
        waiting.socket.setblocking(False)
        for i in range(50):
            assert "result" in busy.request({"command": "create", "type": "plaindev-1", "uuid": uuid_of(100 + i)})
            assert busy.ask("remove", uuid_of(1))["error"]["errno"] == "EAGAIN"
        assert len(busy.ask("list")["result"]["devices"]) == 50
        with pytest.raises(BlockingIOError):
            waiting.socket.recv(1)
        waiting.socket.settimeout(TIMEOUT)
        assert waiting.answer()["result"]["uuid"] == uuid_of(1)
        assert len(waiting.answer()["result"]["devices"]) == 51
        waiting.send(b'{"command": "remove", "device": "%s"}\n' % uuid_of(1).encode())
        assert busy.ask("list")
        daemon.terminate()
