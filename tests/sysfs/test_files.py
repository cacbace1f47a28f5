# SPDX-License-Identifier: BSD-3-Clause
"""Reading and writing as sysfs does: what create and remove take, offsets, pieces, and every errno."""

import mmap
import os

import pytest
from tree import UUIDS, Background, errno_of, store, store_errno, text, wait_for

# ------------------------------------------------------------------ create


@pytest.mark.parametrize("data", ["{}", "{}\n", "{}\0"])
def test_create_takes(tree, data):
    data = data.format(UUIDS[0])
    assert store(tree.type("t0", "small") / "create", data) == len(data)
    assert tree.devices() == UUIDS[:1]


@pytest.mark.parametrize(
    "data",
    [
        "x",
        "\n",
        UUIDS[0][:35],
        UUIDS[0][:35] + "\n",
        UUIDS[0] + "\n\n",
        UUIDS[0] + "x",
        " " + UUIDS[0],
        UUIDS[0][:35] + "g",
        UUIDS[0].replace("-", "_"),
        "{" + UUIDS[0][:34] + "}",
        UUIDS[0][:20] + "\0" + UUIDS[0][21:],
        UUIDS[0] * 100,
        UUIDS[0] * 200,
        b"\xff" * 36,
    ],
)
def test_create_refuses(tree, data):
    assert store_errno(tree.type("t0", "small") / "create", data) == "EINVAL"
    assert tree.devices() == []


def test_create_upper_case(tree):
    uuid = "ABCDEF01-2345-6789-ABCD-EF0123456789"
    store(tree.type("t0", "small") / "create", uuid)
    assert tree.devices() == [uuid.lower()]
    assert store_errno(tree.type("t1", "big") / "create", uuid.lower()) == "EEXIST"
    assert not (tree.sys / "bus/mdev/devices" / uuid).exists()


def test_create_twice(tree):
    tree.create(UUIDS[0])
    for parent, kind in (("t0", "small"), ("t0", "big"), ("t1", "small")):
        assert store_errno(tree.type(parent, kind) / "create", UUIDS[0]) == "EEXIST"


def test_create_without_room(tree):
    tree.create(UUIDS[0], "t0", "big")
    device = tree.create(UUIDS[1], "t0", "big")
    assert text(tree.type("t0", "big") / "available_instances") == "0\n"
    assert store_errno(tree.type("t0", "big") / "create", UUIDS[2]) == "EUSERS"
    tree.create(UUIDS[2], "t1", "big")
    store(device / "remove", "1")
    assert text(tree.type("t0", "big") / "available_instances") == "1\n"
    tree.create(UUIDS[1], "t0", "big")


def test_create_with_a_parent_that_goes(tree):
    create = os.open(tree.type("t0", "small") / "create", os.O_WRONLY)
    name = os.open(tree.type("t0", "small") / "name", os.O_RDONLY)
    tree.do("unparent t0")
    assert errno_of(os.write, create, UUIDS[0].encode()) == "ENODEV"
    assert errno_of(os.read, name, 100) == "ENODEV"
    # A later one of the same name is another.
    tree.do("parent t0 treedev")
    assert errno_of(os.write, create, UUIDS[0].encode()) == "ENODEV"
    os.close(create)
    os.close(name)
    tree.create(UUIDS[0])


def test_one_create_a_write(tree):
    """Offsets do not matter, and one fd serves for many."""
    fd = os.open(tree.type("t0", "small") / "create", os.O_WRONLY)
    for i, uuid in enumerate(UUIDS[:4]):
        assert os.pwrite(fd, uuid.encode(), 1000 * i) == 36
    assert os.write(fd, (UUIDS[4] + "\n").encode()) == 37
    assert os.write(fd, UUIDS[5].encode()) == 36
    # Two pieces are two values, and none of them is right.
    assert errno_of(os.write, fd, UUIDS[6][:18].encode()) == "EINVAL"
    assert errno_of(os.write, fd, UUIDS[6][18:].encode()) == "EINVAL"
    assert os.write(fd, b"") == 0
    os.close(fd)
    assert tree.devices() == UUIDS[:6]


def test_a_shell_creates_and_removes(tree):
    create, remove = tree.type("t0", "small") / "create", tree.sys / "bus/mdev/devices" / UUIDS[0] / "remove"
    assert os.system(f"echo {UUIDS[0]} > {create}") == 0
    assert tree.devices() == UUIDS[:1]
    assert os.system(f"printf 1 >> {remove}") == 0
    assert tree.devices() == []


# ------------------------------------------------------------------ remove


@pytest.mark.parametrize("data", ["1", "1\n", "2", "0x1", "0X1f\n", "010", "+1", "18446744073709551615", "1\0x"])
def test_remove_takes(tree, data):
    device = tree.create(UUIDS[0])
    assert store(device / "remove", data) == len(data)
    assert tree.devices() == []


@pytest.mark.parametrize("data", ["0", "0\n", "0x0", "+0", "000"])
def test_remove_ignores(tree, data):
    device = tree.create(UUIDS[0])
    assert store(device / "remove", data) == len(data)
    assert tree.devices() == UUIDS[:1]


@pytest.mark.parametrize(
    "data", ["\n", " 1", "1 ", "-1", "1\n\n", "1x", "x", "0x", "08", "++1", "18446744073709551616", "1" * 5000, "\0001"]
)
def test_remove_refuses(tree, data):
    device = tree.create(UUIDS[0])
    assert store_errno(device / "remove", data) == "EINVAL"
    assert tree.devices() == UUIDS[:1]


def test_remove_while_it_is_removed(make_tree, hold):
    tree = make_tree(f"t0 treedev hold={hold.path}")
    device = tree.create(UUIDS[0], type="slow")
    second = os.open(device / "remove", os.O_WRONLY)
    hold.begin()
    first = Background(store, device / "remove", "1")
    wait_for(lambda: not tree.devices())
    # It takes no part any more, though it is not gone; meanwhile others are answered.
    assert not os.path.exists(device)
    assert text(tree.type("t0", "slow") / "available_instances") == "7\n"
    assert store_errno(tree.type("t0", "small") / "create", UUIDS[0]) == "EEXIST"
    assert first.is_alive()
    # A writer waits for another of the same file.
    other = Background(errno_of, os.write, second, b"1")
    hold.let_go()
    assert first.result() == 1
    assert other.result() == "ENODEV"
    os.close(second)
    assert text(tree.type("t0", "slow") / "available_instances") == "8\n"
    tree.create(UUIDS[0])


# ------------------------------------------------------------------ uevent


@pytest.mark.parametrize("data", ["add", "change\n", "remove", "bind", "add 12345678-1234-1234-1234-123456789abc A=1"])
def test_uevent_takes(tree, data):
    assert store(tree.create(UUIDS[0]) / "uevent", data) == len(data)
    assert store(tree.parent("t0") / "uevent", data) == len(data)


@pytest.mark.parametrize("data", ["\n", "frob", "addx", "Add", "add,"])
def test_uevent_refuses(tree, data):
    assert store_errno(tree.create(UUIDS[0]) / "uevent", data) == "EINVAL"
    assert store_errno(tree.parent("t0") / "uevent", data) == "EINVAL"


# ------------------------------------------------------------------ reading


def test_a_content_is_made_at_offset_0(tree):
    tree.create(UUIDS[0], "t0", "big")
    fd = os.open(tree.type("t0", "big") / "available_instances", os.O_RDONLY)
    assert os.read(fd, 1) == b"1"
    tree.create(UUIDS[1], "t0", "big")
    # The rest is of what was read first …
    assert os.read(fd, 100) == b"\n"
    assert os.read(fd, 100) == b""
    # … until it is read from its start.
    assert os.pread(fd, 100, 1) == b"\n"
    assert os.pread(fd, 100, 0) == b"0\n"
    assert os.lseek(fd, 0, os.SEEK_SET) == 0
    assert os.read(fd, 100) == b"0\n"
    assert os.pread(fd, 100, 4096) == b"" == os.pread(fd, 100, 1 << 62)
    assert os.lseek(fd, 0, os.SEEK_END) == 4096
    os.close(fd)


def test_a_first_read_further_on(tree):
    fd = os.open(tree.type("t0", "big") / "name", os.O_RDONLY)
    assert os.pread(fd, 100, 2) == b"big one\n"
    os.close(fd)


def test_pieces(tree):
    fd = os.open(tree.type("t0", "big") / "name", os.O_RDONLY)
    assert b"".join(iter(lambda: os.read(fd, 1), b"")) == b"A big one\n"
    os.close(fd)


def test_modes_bind_root_too(tree):
    device = tree.create(UUIDS[0])
    for path in (tree.type("t0", "big") / "create", device / "remove", device / "kick"):
        assert errno_of(os.open, path, os.O_RDONLY) == "EACCES"
        assert errno_of(os.open, path, os.O_RDWR) == "EACCES"
    for path in (tree.type("t0", "big") / "name", device / "umdev/connected", device / "kicks"):
        assert errno_of(os.open, path, os.O_WRONLY) == "EACCES"
        assert errno_of(os.open, path, os.O_RDWR) == "EACCES"


def test_what_has_no_content_is_an_error(tree):
    """Even where somebody gave it the mode."""
    device = tree.create(UUIDS[0])
    for path in (tree.type("t0", "big") / "create", device / "remove", device / "kick"):
        os.chmod(path, 0o600)
        assert errno_of(text, path) == "EIO"
    for path in (tree.type("t0", "big") / "name", device / "umdev/connected", device / "kicks",
                 device / "umdev/stats/errors"):
        os.chmod(path, 0o600)
        assert store_errno(path, "1") == "EIO"


# ------------------------------------------------------------------ what sysfs refuses


def test_the_shape_is_fixed(tree):
    """What each fails with on Linux's sysfs, measured there."""
    device = tree.create(UUIDS[0])
    new, file = device / "new", device / "uevent"
    for call, wanted in [
        ((os.mkdir, new), "EPERM"),
        ((os.rmdir, device), "EPERM"),
        ((os.rmdir, tree.sys / "bus"), "EPERM"),
        ((os.unlink, file), "EPERM"),
        ((os.unlink, device / "mdev_type"), "EPERM"),
        ((os.unlink, new), "ENOENT"),
        ((os.rename, file, new), "EPERM"),
        ((os.rename, device, tree.parent("t1") / "here"), "EPERM"),
        ((os.link, file, new), "EPERM"),
        ((os.symlink, "x", new), "EPERM"),
        ((os.mkfifo, new), "EPERM"),
        ((os.mknod, new, 0o100644), "EACCES"),
        ((os.open, new, os.O_CREAT | os.O_WRONLY), "EACCES"),
        ((os.open, file, os.O_CREAT | os.O_EXCL | os.O_WRONLY), "EEXIST"),
        ((os.open, device, os.O_TMPFILE | os.O_RDWR), "ENOTSUP"),
        ((os.open, device, os.O_RDWR), "EISDIR"),
        ((os.stat, file / "x"), "ENOTDIR"),
        ((os.setxattr, file, "user.x", b"1"), "ENOTSUP"),
        ((os.truncate, file, 0), ""),
        ((os.utime, file), ""),
    ]:
        assert errno_of(*call) == wanted, call
    fd = os.open(file, os.O_RDWR)
    assert errno_of(mmap.mmap, fd, 4096) == "ENODEV"
    assert errno_of(os.fsync, fd) == ""
    os.close(fd)
    assert tree.devices() == UUIDS[:1]


# ------------------------------------------------------------------ attributes of the driver


def test_attributes(tree):
    device = tree.create(UUIDS[0])
    assert text(device / "value") == "unset\n"
    assert store(device / "value", "hello\n") == 6
    assert text(device / "value") == "hello\n"
    assert store_errno(device / "value", "bad") == "EINVAL"
    assert text(device / "value") == "hello\n"
    assert store(device / "kick", "abc") == 3
    assert text(device / "kicks") == "3\n"
    assert errno_of(text, device / "broken") == "EBUSY"
    assert text(device / "page") == "x" * 4096
    assert errno_of(text, device / "liar") == "EIO"
    assert text(tree.create(UUIDS[1]) / "value") == "unset\n"


def test_attributes_of_parents_and_types(tree):
    level, weight = tree.parent("t0") / "level", tree.type("t0", "big") / "weight"
    assert text(level) == "0\n"
    assert store(level, "7\n") == 2
    assert text(level) == "7\n"
    assert text(tree.parent("t1") / "level") == "0\n"
    assert store_errno(level, "x") == "EINVAL"
    assert store(weight, "12") == 2
    assert text(weight) == "12 of 1\n"
    assert text(tree.type("t0", "slow") / "weight") == "0 of 2\n"
    assert store_errno(weight, "x") == "ERANGE"
    os.chmod(weight, 0o640)
    assert os.stat(weight).st_mode == 0o100640
    assert os.stat(tree.type("t0", "slow") / "weight").st_mode == 0o100644


def test_a_parent_goes_while_its_attribute_is_read(make_tree, hold):
    tree = make_tree(f"t0 treedev hold={hold.path}")
    fd = os.open(tree.parent("t0") / "level", os.O_RDWR)
    weight = os.open(tree.type("t0", "big") / "weight", os.O_RDONLY)
    hold.begin()
    reader = Background(os.read, weight, 100)
    hold.wait_inside(1)
    going = Background(tree.do, "unparent t0")
    wait_for(lambda: not tree.parent("t0").exists())
    # It does not go under the callback.
    assert going.is_alive() and reader.is_alive()
    hold.let_go()
    assert reader.result() == b"0 of 1\n"
    going.result()
    assert errno_of(os.read, weight, 100) == "ENODEV"
    assert errno_of(os.read, fd, 10) == "ENODEV" == errno_of(os.write, fd, b"1")
    os.close(fd)
    os.close(weight)


def test_a_write_is_4096_bytes_at_most(tree):
    """The rest is another, if its writer goes on."""
    device = tree.create(UUIDS[0])
    assert store(device / "kick", "x" * 4096) == 4096
    assert store(device / "kick", "x" * 100000) == 4096
    assert store(device / "kick", "x" * 1000000) == 4096
    assert text(device / "kicks") == f"{3 * 4096}\n"


def test_a_page_in_pieces(tree):
    fd = os.open(tree.create(UUIDS[0]) / "page", os.O_RDONLY)
    assert [len(os.read(fd, 1500)) for _ in range(4)] == [1500, 1500, 1096, 0]
    os.close(fd)


# ------------------------------------------------------------------ what is gone


def test_open_files_of_a_device_that_is_gone(tree):
    device = tree.create(UUIDS[0])
    names = ["uevent", "value", "umdev/connected", "umdev/stats/errors", "kicks"]
    files = [os.open(device / name, os.O_RDONLY) for name in names]
    begun = os.open(device / "value", os.O_RDONLY)
    assert os.read(begun, 2) == b"un"
    writers = [os.open(device / name, os.O_WRONLY) for name in ("remove", "value", "kick", "uevent")]
    here = os.open(device, os.O_RDONLY)
    for _ in range(2):
        tree.do("remove " + UUIDS[0])
        for fd in files:
            assert errno_of(os.read, fd, 100) == "ENODEV"
            assert os.fstat(fd).st_size == 4096
        assert os.pread(begun, 100, 2) == b"set\n"
        assert errno_of(os.pread, begun, 100, 6) == "ENODEV"
        for fd in writers:
            assert errno_of(os.write, fd, b"1") == "ENODEV"
        assert os.listdir(here) == []
        assert errno_of(os.stat, "uevent", dir_fd=here) == "ENOENT"
        # Nor do they become those of a later one.
        tree.create(UUIDS[0])
    for fd in [*files, *writers, begun, here]:
        os.close(fd)


def test_made_and_removed_elsewhere_is_seen_at_once(tree):
    devices = tree.sys / "bus/mdev/devices"
    for i in range(50):
        assert not (devices / UUIDS[0]).exists()
        assert os.listdir(devices) == []
        tree.do(f"create t{i % 2} treedev-small {UUIDS[0]}")
        assert (devices / UUIDS[0] / "remove").exists()
        assert os.listdir(devices) == UUIDS[:1]
        assert os.readlink(devices / UUIDS[0]) == f"../../../devices/umdev/t{i % 2}/{UUIDS[0]}"
        tree.do("remove " + UUIDS[0])


def test_a_list_goes_on_from_where_it_was(tree):
    """Longer than one answer; and begun again, it is made again."""
    for uuid in UUIDS:
        tree.create(uuid)
    listed = os.popen(f"ls -f {tree.sys}/bus/mdev/devices").read().split()
    assert listed == [".", "..", *UUIDS]
    fd = os.open(tree.sys / "bus/mdev/devices", os.O_RDONLY)
    assert os.listdir(fd) == UUIDS
    tree.do("remove " + UUIDS[0])
    assert os.listdir(fd) == UUIDS[1:]
    os.close(fd)
