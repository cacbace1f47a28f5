# SPDX-License-Identifier: BSD-3-Clause
"""How a tree ends: in use, hung in, unmounted by others, killed; that nothing is left behind; two at once."""

import os
import subprocess
import threading
import time

import pytest
from tree import TIMEOUT, UUIDS, CannotMount, Tree, errno_of, store, text, unmount


def test_unmount_under_use(tree):
    device = tree.create(UUIDS[0])
    fd = os.open(device / "value", os.O_RDONLY)
    folder = os.open(device, os.O_RDONLY)
    assert os.read(fd, 3) == b"uns"
    assert os.listdir(folder)
    shell = subprocess.Popen(["sleep", "100"], cwd=device)
    tree.do("unmount")
    assert os.listdir(tree.sys) == []
    assert errno_of(os.read, fd, 100) == "ENOTCONN"
    assert errno_of(os.listdir, folder) == "ENOTCONN"
    # The device is the host's, and still there.
    tree.do("mount")
    assert text(tree.device(UUIDS[0]) / "value") == "unset\n"
    assert errno_of(os.pread, fd, 100, 0) == "ENOTCONN"
    shell.kill()
    shell.wait()
    os.close(fd)
    os.close(folder)


def test_unmount_while_clients_hang_in_it(make_tree):
    """It waits for the driver, who is asked, not for those who wait to be answered."""
    tree = make_tree("t0 treedev slow_ms=700")
    device = tree.create(UUIDS[0])
    got = []

    def read():
        try:
            got.append(text(device / "slow"))
        except OSError as e:
            got.append(e.errno)

    readers = [threading.Thread(target=read) for _ in range(12)]
    for reader in readers:
        reader.start()
    time.sleep(0.2)
    begun = time.monotonic()
    tree.do("unmount")
    assert time.monotonic() - begun < 12 * 0.7 + 5
    for reader in readers:
        reader.join(10)
        assert not reader.is_alive()
    assert len(got) == len(readers)


def test_unmounted_by_somebody_else(tree):
    subprocess.run(["umount", tree.sys], check=True)
    assert os.listdir(tree.sys) == []
    tree.do("unmount")
    usage = tree.usage()
    tree.do("mount")
    tree.create(UUIDS[0])
    tree.do("remove " + UUIDS[0])
    tree.do("unmount")
    tree.wait_usage(usage)


def test_unmounted_lazily_by_somebody_else(tree):
    """Who has it open goes on using it, until it ends."""
    fd = os.open(tree.sys, os.O_RDONLY)
    subprocess.run(["umount", "-l", tree.sys], check=True)
    assert sorted(os.listdir(fd)) == ["bus", "class", "devices"]
    tree.do("unmount")
    assert errno_of(os.listdir, fd) == "ENOTCONN"
    os.close(fd)


def test_what_is_mounted_there_now_is_left_alone(tree):
    subprocess.run(["umount", "-l", tree.sys], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", tree.sys], check=True)
    (tree.sys / "theirs").touch()
    try:
        tree.do("unmount")
        assert os.listdir(tree.sys) == ["theirs"]
    finally:
        unmount(tree.sys)


def test_a_dead_mount_is_taken_away(make_tree):
    """A daemon that was killed leaves one; the next one mounts there."""
    dead = make_tree("t0 treedev")
    dead.process.kill()
    dead.process.wait()
    assert errno_of(os.listdir, dead.sys) == "ENOTCONN"
    tree = make_tree("t1 treedev", mount=False)
    tree.do(f"second {dead.sys}")
    assert os.listdir(dead.sys / "class/mdev_bus") == ["t1"]
    tree.do("unmount")
    assert os.listdir(dead.sys) == []
    # It can't end in order any more.
    dead.close = dead.kill


def test_two_trees(tree):
    other = tree.folder / "other"
    other.mkdir()
    tree.do(f"second {other}")
    tree.create(UUIDS[0])
    assert os.listdir(other / "bus/mdev/devices") == UUIDS[:1]
    # Changed modes are of one tree.
    os.chmod(tree.device(UUIDS[0]) / "value", 0o600)
    assert os.stat(other / "bus/mdev/devices" / UUIDS[0] / "value").st_mode == 0o100644
    store(other / "bus/mdev/devices" / UUIDS[0] / "remove", "1")
    assert tree.devices() == []


def test_mounted_and_unmounted_again_and_again(tree):
    device = tree.create(UUIDS[0])
    tree.do("unmount")
    usage = tree.usage()
    for _ in range(20):
        tree.do("mount")
        fds = [os.open(device, os.O_RDONLY), os.open(device / "value", os.O_RDONLY)]
        os.listdir(fds[0])
        os.read(fds[1], 10)
        tree.do("unmount")
        for fd in fds:
            os.close(fd)
    tree.wait_usage(usage)


def test_it_ends_with_threads_idle(make_tree):
    """Many at work at once make many threads, of which few stay."""
    tree = make_tree("t0 treedev slow_ms=3000")
    text(tree.type("t0", "small") / "name")
    devices = [tree.create(uuid) for uuid in UUIDS[:24]]
    before = tree.usage()[1]
    readers = [threading.Thread(target=text, args=(device / "slow",)) for device in devices]
    for reader in readers:
        reader.start()
    # They are there while the driver takes its time, whenever that begins.
    while tree.usage()[1] <= before + 10:
        assert any(reader.is_alive() for reader in readers)
        time.sleep(0.01)
    for reader in readers:
        reader.join()
    deadline = time.monotonic() + TIMEOUT
    while tree.usage()[1] > before + 4 and time.monotonic() < deadline:
        text(devices[0] / "value")
    assert tree.usage()[1] <= before + 4


@pytest.mark.parametrize("path, ret", [("nosuch", -2), ("file", -20), ("file/x", -20)])
def test_where_nothing_can_be_mounted(make_tree, path, ret):
    tree = make_tree("t0 treedev")
    (tree.folder / "file").touch()
    tree.do("unmount")
    usage = tree.usage()
    assert tree.ask(f"second {tree.folder / path}")["ret"] == ret
    assert str(tree.folder / path) in tree.said()
    tree.wait_usage(usage)


def test_without_the_right_to_mount(make_tree):
    """The reason is said."""
    if os.geteuid() != 0:
        pytest.skip("only root has a right to lose")
    make_tree()
    with pytest.raises(CannotMount, match="no right to mount"):
        Tree(prefix=["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"])
