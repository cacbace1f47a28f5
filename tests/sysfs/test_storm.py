# SPDX-License-Identifier: BSD-3-Clause
"""Many at once: created and removed by files and by the host, looked through by find and grep meanwhile."""

import errno
import os
import random
import subprocess
import threading
import time

from tree import TIMEOUT, UUIDS, store, text

SECONDS = 4
# So many of each have to succeed, however long it takes.
ENOUGH = 10
# What each may meet when others do the same, and no more.
EXPECTED = {
    "create": {errno.EEXIST, errno.EUSERS, errno.ENODEV, errno.ENOENT},
    "remove": {errno.ENODEV, errno.EAGAIN, errno.ENOENT},
    "look": {errno.ENODEV, errno.ENOENT},
}


class Storm:
    def __init__(self, tree):
        self.tree = tree
        self.begun = time.monotonic()
        self.ended = False
        self.wrong = []
        self.done = dict.fromkeys(EXPECTED, 0)
        self.lock = threading.Lock()

    def going(self):
        seconds = time.monotonic() - self.begun
        more = seconds < SECONDS or (min(self.done.values()) <= ENOUGH and seconds < SECONDS + TIMEOUT)
        return more and not self.ended and not self.wrong

    def attempt(self, what, call, *args):
        try:
            call(*args)
        except OSError as e:
            if e.errno not in EXPECTED[what]:
                self.wrong.append((what, e))
        else:
            with self.lock:
                self.done[what] += 1

    def create_and_remove(self, seed):
        rand = random.Random(seed)
        while self.going():
            uuid = rand.choice(UUIDS[:12])
            create = self.tree.type(rand.choice(["t0", "t1"]), rand.choice(["small", "big", "slow"])) / "create"
            remove = self.tree.sys / "bus/mdev/devices" / uuid / "remove"
            if rand.randrange(2):
                self.attempt("create", store, create, uuid)
            else:
                self.attempt("remove", store, remove, "1")

    def by_the_host(self, seed):
        rand = random.Random(seed)
        while self.going():
            uuid = rand.choice(UUIDS[:12])
            line = rand.choice([f"create t0 treedev-small {uuid}", f"remove {uuid}"])
            if -self.tree.ask(line)["ret"] not in EXPECTED["create"] | EXPECTED["remove"] | {0}:
                self.wrong.append(line)

    def look(self, seed):
        rand = random.Random(seed)
        devices = self.tree.sys / "bus/mdev/devices"
        while self.going():
            for uuid in os.listdir(devices):
                name = rand.choice(["value", "umdev/connected", "umdev/stats/errors", "uevent", "mdev_type/name"])
                self.attempt("look", text, devices / uuid / name)
            self.attempt("look", os.readlink, devices / rand.choice(UUIDS[:12]))

    def programs(self, _):
        while self.going():
            for command in (["find", self.tree.sys, "-ls"], ["grep", "-r", "unset", self.tree.sys]):
                said = subprocess.run(command, capture_output=True, text=True, check=False).stderr
                for line in said.splitlines():
                    if not line.endswith(("No such file or directory", "No such device", "Permission denied",
                                          "resource busy", "Input/output error")):
                        self.wrong.append(line)

    def parents_come_and_go(self, _):
        while self.going():
            self.tree.do("parent late treedev")
            time.sleep(0.05)
            self.tree.do("unparent late")
            time.sleep(0.05)

    def run(self, *workers):
        seed = int(os.environ.get("SEED", time.time_ns() % 2**32))
        print(f"SEED={seed}")
        threads = [threading.Thread(target=work, args=(seed + i,)) for i, work in enumerate(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not self.wrong


def test_storm(make_tree):
    tree = make_tree("t0 treedev", "t1 treedev", mount=False)
    usage = tree.usage()
    tree.mount()
    storm = Storm(tree)
    storm.run(*[storm.create_and_remove] * 4, storm.by_the_host, *[storm.look] * 2, storm.programs,
              storm.parents_come_and_go)
    assert min(storm.done.values()) > ENOUGH, storm.done
    # The tree and the host agree, and all can be taken away.
    assert tree.devices() == sorted(device["uuid"] for device in tree.do("devices")["list"])
    for uuid in tree.devices():
        store(tree.device(uuid) / "remove", "1")
    assert text(tree.type("t0", "big") / "available_instances") == "2\n"
    assert text(tree.type("t1", "slow") / "available_instances") == "8\n"
    tree.do("unmount")
    tree.wait_usage(usage)


def test_storm_ends_with_the_tree(tree):
    """Unmounted in the midst of it: everybody gets an answer, if only that there is none."""
    storm = Storm(tree)
    for expected in (errno.ENOTCONN, errno.ECONNABORTED):
        for what in EXPECTED.values():
            what.add(expected)
    workers = [*[storm.create_and_remove] * 3, storm.programs]
    threads = [threading.Thread(target=storm_worker, args=(work, i)) for i, work in enumerate(workers)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    tree.do("unmount")
    storm.ended = True
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def storm_worker(work, seed):
    try:
        work(seed)
    except OSError:
        pass
