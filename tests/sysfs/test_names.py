# SPDX-License-Identifier: BSD-3-Clause
"""Every name, mode, size and link of the tree; and that what the files say is what the host says."""

import os
import stat

import pytest
from tree import UUIDS, store, text

DIR, RO, WO, RW = "drwxr-xr-x", "-r--r--r--", "--w-------", "-rw-r--r--"

TYPE = {
    "": DIR,
    "/available_instances": RO,
    "/create": WO,
    "/device_api": RO,
    "/devices": DIR,
    "/name": RO,
    "/weight": RW,
}

COUNTERS = (
    "sessions messages traps_read traps_write trap_bytes_read trap_bytes_written dma_maps dma_mapped_bytes "
    "dma_bytes_read dma_bytes_written dma_pinned_bytes interrupts resets errors failed faults refused revoked "
    "refusal_errno refusal_region refusal_offset refusal_access refusal_age_ms tracked_pages compared_pages "
    "track_notify track_method"
).split()


def of_parent(name):
    top = f"devices/umdev/{name}"
    types = f"{top}/mdev_supported_types"
    wanted = {top: DIR, f"{top}/uevent": RW, f"{top}/level": RW, types: DIR, f"class/mdev_bus/{name}": f"../../devices/umdev/{name}"}
    for kind in ("small", "big", "slow"):
        wanted |= {f"{types}/treedev-{kind}{file}": mode for file, mode in TYPE.items()}
    for kind in ("big", "slow"):
        wanted[f"{types}/treedev-{kind}/description"] = RO
    return wanted


def of_device(uuid, parent, kind, socket=False):
    top = f"devices/umdev/{parent}/{uuid}"
    wanted = {
        top: DIR,
        f"{top}/driver": "../../../../bus/mdev/drivers/treedev",
        f"{top}/mdev_type": f"../mdev_supported_types/treedev-{kind}",
        f"{top}/remove": WO,
        f"{top}/subsystem": "../../../../bus/mdev",
        f"{top}/uevent": RW,
        f"{top}/umdev": DIR,
        f"{top}/umdev/connected": RO,
        f"{top}/umdev/stats": DIR,
        f"bus/mdev/devices/{uuid}": f"../../../devices/umdev/{parent}/{uuid}",
        f"bus/mdev/drivers/treedev/{uuid}": f"../../../../devices/umdev/{parent}/{uuid}",
        f"devices/umdev/{parent}/mdev_supported_types/treedev-{kind}/devices/{uuid}": f"../../../{uuid}",
    }
    if socket:
        wanted[f"{top}/umdev/socket"] = RO
    wanted |= {f"{top}/umdev/stats/{name}": RO for name in COUNTERS}
    modes = {"value": RW, "kick": WO, "kicks": RO, "broken": RO, "page": RO, "liar": RO, "slow": RO}
    return wanted | {f"{top}/{name}": mode for name, mode in modes.items()}


ALWAYS = dict.fromkeys(
    "bus bus/mdev bus/mdev/devices bus/mdev/drivers class class/mdev_bus devices devices/umdev".split(), DIR
)


def walk(top):
    """{path: mode or where the link leads}. Each is looked at by its name and in its folder's list."""
    found = {}
    for folder, folders, files in os.walk(top):
        for entry in os.scandir(folder):
            info = os.lstat(entry.path)
            path = os.path.relpath(entry.path, top)
            assert entry.inode() == info.st_ino
            assert entry.is_dir(follow_symlinks=False) == stat.S_ISDIR(info.st_mode)
            assert info.st_size == (4096 if stat.S_ISREG(info.st_mode) else 0)
            assert (info.st_uid, info.st_gid, info.st_nlink) == (os.geteuid(), os.getegid(), 1)
            assert path not in found
            found[path] = os.readlink(entry.path) if stat.S_ISLNK(info.st_mode) else stat.filemode(info.st_mode)
        assert len(folders) + len(files) == len(os.listdir(folder))
    return found


def test_every_name_mode_and_link(tree):
    nothing = ALWAYS | of_parent("t0") | of_parent("t1") | {"bus/mdev/drivers/treedev": DIR}
    assert walk(tree.sys) == nothing
    tree.create(UUIDS[0])
    tree.create(UUIDS[1], "t1", "big")
    tree.do(f"listen {UUIDS[1]} {tree.folder}/socket")
    assert walk(tree.sys) == nothing | of_device(UUIDS[0], "t0", "small") | of_device(UUIDS[1], "t1", "big", True)
    tree.do("remove " + UUIDS[0])
    tree.do("remove " + UUIDS[1])
    assert walk(tree.sys) == nothing


def test_a_tree_without_parents(make_tree):
    tree = make_tree()
    assert walk(tree.sys) == ALWAYS
    tree.do("parent late treedev")
    assert walk(tree.sys) == ALWAYS | of_parent("late") | {"bus/mdev/drivers/treedev": DIR}
    tree.do("unparent late")
    assert walk(tree.sys) == ALWAYS


def test_all_links_lead_somewhere(tree):
    tree.create(UUIDS[0])
    for folder, folders, files in os.walk(tree.sys):
        for name in folders + files:
            assert os.path.exists(os.path.join(folder, name))
    device = tree.device(UUIDS[0])
    assert (tree.sys / "class/mdev_bus/t0").resolve() == tree.parent("t0")
    assert (device / "mdev_type").resolve() == tree.type("t0", "small")
    assert (tree.type("t0", "small") / "devices" / UUIDS[0]).resolve() == device
    assert (device / "subsystem").resolve() == tree.sys / "bus/mdev"
    assert (device / "driver" / UUIDS[0]).resolve() == device


def test_drivers_each_once(make_tree):
    tree = make_tree("t0 treedev", "p0 plaindev", "t1 treedev")
    drivers = tree.sys / "bus/mdev/drivers"
    assert sorted(os.listdir(drivers)) == ["plaindev", "treedev"]
    tree.create(UUIDS[0], "t0")
    tree.create(UUIDS[1], "t1")
    assert sorted(os.listdir(drivers / "treedev")) == UUIDS[:2]
    assert os.listdir(drivers / "plaindev") == []
    tree.do("unparent p0")
    assert os.listdir(drivers) == ["treedev"]


def test_two_dots(tree):
    device = tree.create(UUIDS[0])
    for path in (tree.sys / "bus/mdev", device, device / "umdev/stats", tree.type("t0", "big") / "devices"):
        # Python's scandir() leaves them out: ask the program that shows them.
        listed = os.popen(f"ls -ai {path}").read().split()
        inode = dict(zip(listed[1::2], map(int, listed[::2])))
        assert inode["."] == os.stat(path).st_ino
        assert inode[".."] == os.stat(path / "..").st_ino


def test_types_say_what_the_host_says(tree):
    tree.create(UUIDS[0], "t0", "big")
    types = tree.do("types")["list"]
    assert len(types) == 6
    for of in types:
        folder = tree.parent(of["parent"]) / "mdev_supported_types" / of["name"]
        assert text(folder / "device_api") == of["device_api"] + "\n" == "vfio-pci\n"
        assert text(folder / "name") == of["pretty_name"] + "\n"
        assert text(folder / "available_instances") == f"{min(of['available'], 2**31 - 1)}\n"
        if of["description"] is None:
            assert not (folder / "description").exists()
        else:
            assert text(folder / "description") == of["description"] + "\n"
    assert text(tree.type("t0", "big") / "available_instances") == "1\n"
    assert text(tree.type("t1", "big") / "available_instances") == "2\n"
    assert text(tree.type("t0", "big") / "name") == "A big one\n"


def test_devices_say_what_the_host_says(tree):
    device = tree.create(UUIDS[0])
    assert text(device / "uevent") == "DRIVER=treedev\n"
    assert text(device / "umdev/connected") == "0\n"
    assert not (device / "umdev/socket").exists()
    tree.do(f"listen {UUIDS[0]} {tree.folder}/a-socket")
    assert text(device / "umdev/socket") == f"{tree.folder}/a-socket\n"
    assert text(device / "umdev/stats/sessions") == "0\n"
    tree.do("serve " + UUIDS[0])
    assert text(device / "umdev/connected") == "1\n"
    assert text(device / "umdev/stats/sessions") == "1\n"
    tree.do("unserve")
    assert text(device / "umdev/stats/sessions") == "1\n"
    assert text(tree.parent("t0") / "uevent") == ""


def test_inode_numbers_are_stable_and_differ(tree):
    device = tree.create(UUIDS[0])
    paths = [device, device / "remove", tree.type("t0", "big") / "create", tree.sys / "bus/mdev"]
    before = [os.stat(path).st_ino for path in paths]
    os.system(f"find {tree.sys} -ls >/dev/null; echo 2 >/proc/sys/vm/drop_caches 2>/dev/null")
    assert [os.stat(path).st_ino for path in paths] == before
    numbers = [os.lstat(os.path.join(f, name)).st_ino for f, ds, fs in os.walk(tree.sys) for name in ds + fs]
    assert len(numbers) == len(set(numbers))
    # The same name later is another device.
    store(device / "remove", "1")
    assert os.stat(tree.create(UUIDS[0])).st_ino != before[0]


@pytest.mark.parametrize("path", ["nosuch", "bus/mdev/devices/" + UUIDS[9], "devices/umdev/t9", "class/mdev_bus/t0x",
                                  "devices/umdev/t0/mdev_supported_types/small", "bus/mdev/devices/x" * 20])
def test_what_is_not_there(tree, path):
    with pytest.raises(FileNotFoundError):
        os.lstat(tree.sys / path)
