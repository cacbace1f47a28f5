# SPDX-License-Identifier: BSD-3-Clause
"""Who may do what: modes and owners of files, that an operator changes; and a tree of a user's own."""

import errno
import os
import pwd
import shutil
import stat
import subprocess
import sys

import pytest
from tree import BUILD, UUIDS, store, text

NOBODY = pwd.getpwnam("nobody")
GROUP = 4242

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


def as_nobody(code, *arguments, groups=()):
    """Run Python as nobody; it prints what it got."""
    return subprocess.run(
        [sys.executable, "-c", "import os, sys, errno\n" + code, *map(str, arguments)],
        user=NOBODY.pw_uid,
        group=NOBODY.pw_gid,
        extra_groups=groups,
        cwd="/",
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()


WRITE = """
try:
    fd = os.open(sys.argv[1], os.O_WRONLY)
    print(os.write(fd, sys.argv[2].encode()))
except OSError as e:
    print(errno.errorcode[e.errno])
"""


def test_everybody_may_look(tree):
    device = tree.create(UUIDS[0])
    look = "print(open(sys.argv[1]).read().strip(), os.listdir(sys.argv[2]))"
    assert as_nobody(look, device / "value", tree.sys / "bus/mdev/devices") == f"unset {UUIDS[:1]}"


def test_only_root_may_write(tree):
    device = tree.create(UUIDS[0])
    for path in ("create", "name"):
        assert as_nobody(WRITE, tree.type("t0", "small") / path, UUIDS[1]) == "EACCES"
    for path in ("remove", "value", "kick", "uevent", "kicks"):
        assert as_nobody(WRITE, device / path, "1") == "EACCES"
    for change in ("os.chmod(sys.argv[1], 0o666)", "os.chown(sys.argv[1], os.getuid(), -1)", "os.truncate(sys.argv[1], 0)"):
        code = f"try:\n    {change}\nexcept OSError as e:\n    print(errno.errorcode[e.errno])"
        assert as_nobody(code, device / "remove") in ("EPERM", "EACCES")
    assert as_nobody("try:\n    os.mkdir(sys.argv[1])\nexcept OSError as e:\n    print(errno.errorcode[e.errno])",
                     device / "x") == "EACCES"
    assert tree.devices() == UUIDS[:1]


def test_a_group_may_create(tree):
    create = tree.type("t0", "big") / "create"
    os.chown(create, 0, GROUP)
    os.chmod(create, 0o220)
    info = os.stat(create)
    assert (stat.filemode(info.st_mode), info.st_uid, info.st_gid) == ("--w--w----", 0, GROUP)
    assert as_nobody(WRITE, create, UUIDS[0]) == "EACCES"
    assert as_nobody(WRITE, create, UUIDS[0], groups=[GROUP]) == "36"
    assert as_nobody(WRITE, tree.type("t0", "small") / "create", UUIDS[1], groups=[GROUP]) == "EACCES"
    assert as_nobody(WRITE, tree.type("t1", "big") / "create", UUIDS[1], groups=[GROUP]) == "EACCES"
    # What was made is root's.
    assert as_nobody(WRITE, tree.device(UUIDS[0]) / "remove", "1", groups=[GROUP]) == "EACCES"


def test_changes_stick(tree):
    device = tree.create(UUIDS[0])
    os.chown(device / "remove", NOBODY.pw_uid, NOBODY.pw_gid)
    os.chmod(device / "value", 0o666)
    os.chmod(tree.type("t0", "big") / "available_instances", 0o400)
    os.chmod(tree.parent("t0"), 0o751)
    os.chown(device / "mdev_type", 1, 2, follow_symlinks=False)
    for i in range(3):
        os.system(f"find {tree.sys} >/dev/null; echo 2 >/proc/sys/vm/drop_caches 2>/dev/null")
        assert stat.filemode(os.stat(device / "remove").st_mode) == "--w-------"
        assert os.stat(device / "remove").st_uid == NOBODY.pw_uid
        assert stat.filemode(os.stat(device / "value").st_mode) == "-rw-rw-rw-"
        assert stat.filemode(os.stat(tree.type("t0", "big") / "available_instances").st_mode) == "-r--------"
        assert stat.filemode(os.stat(tree.parent("t0")).st_mode) == "drwxr-x--x"
        assert os.lstat(device / "mdev_type").st_gid == 2
    assert as_nobody(WRITE, device / "value", "mine") == "4"
    assert text(device / "value") == "mine\n"
    assert as_nobody(WRITE, device / "remove", "1") == "1"
    # They belong to the device, not to its name.
    device = tree.create(UUIDS[0])
    assert stat.filemode(os.stat(device / "value").st_mode) == "-rw-r--r--"
    assert os.stat(device / "remove").st_uid == 0


def test_a_closed_folder(tree):
    os.chmod(tree.type("t0", "big"), 0o700)
    assert as_nobody("print(os.path.exists(sys.argv[1]))", tree.type("t0", "big") / "name") == "False"
    assert as_nobody("print(os.path.exists(sys.argv[1]))", tree.type("t0", "slow") / "name") == "True"


def test_changes_of_many_that_are_gone(tree):
    """They are forgotten as time goes by; those of what is there are not."""
    os.chmod(tree.type("t0", "small") / "create", 0o640)
    for _ in range(8):
        for uuid in UUIDS:
            os.chmod(tree.create(uuid) / "remove", 0o600)
        for uuid in UUIDS:
            assert stat.filemode(os.stat(tree.device(uuid) / "remove").st_mode) == "-rw-------"
            store(tree.device(uuid) / "remove", "1")
    assert stat.filemode(os.stat(tree.type("t0", "small") / "create").st_mode) == "-rw-r-----"


# ------------------------------------------------------------------ a user's own tree


UNSHARE = 'mount --bind "$0" /dev/fuse && exec setpriv --reuid={0.pw_uid} --regid={0.pw_gid} --clear-groups "$@"'


@pytest.fixture
def user_tree(make_tree, tmp_path):
    """nobody's, by fusermount3; in a mount namespace whose /dev/fuse is for everybody, as udev makes it."""
    if not shutil.which("fusermount3"):
        pytest.skip("no fusermount3: install fuse3")
    if as_nobody("print(os.access(sys.argv[1], os.X_OK))", BUILD / "tests/sysfs/treeserver") != "True":
        pytest.skip(f"nobody may not run what is in {BUILD}")
    node = tmp_path / "fuse"
    try:
        os.mknod(node, stat.S_IFCHR | 0o666, os.stat("/dev/fuse").st_rdev)
        os.chmod(node, 0o666)
    except OSError as e:
        pytest.skip(f"no /dev/fuse for everybody can be made: {e}")
    return make_tree("t0 treedev", prefix=["unshare", "-m", "sh", "-c", UNSHARE.format(NOBODY), node], owner=NOBODY)


def test_a_tree_of_a_user(user_tree):
    tree = user_tree
    inside = ["nsenter", "-m", "-t", str(tree.process.pid)]
    drop = ["setpriv", f"--reuid={NOBODY.pw_uid}", f"--regid={NOBODY.pw_gid}", "--clear-groups"]
    devices = tree.sys / "bus/mdev/devices"

    def shell(script, *prefix):
        ran = subprocess.run([*inside, *prefix, "sh", "-c", script], capture_output=True, text=True, cwd="/", check=False)
        return (ran.stdout + ran.stderr).strip()

    assert shell(f"echo {UUIDS[0]} > {tree.type('t0', 'small')}/create; ls {devices}", *drop) == UUIDS[0]
    assert shell(f"cat {devices}/{UUIDS[0]}/value; stat -c %u:%A {devices}/{UUIDS[0]}/remove", *drop) == (
        f"unset\n{NOBODY.pw_uid}:--w-------"
    )
    assert shell(f"chmod 600 {devices}/{UUIDS[0]}/value; stat -c %a {devices}/{UUIDS[0]}/value", *drop) == "600"
    # Not for anybody else, root included.
    assert "Permission denied" in shell(f"ls {tree.sys}")
    tree.do("unmount")
    assert shell(f"ls {tree.sys}") == ""
    tree.do("mount")
    assert shell(f"ls {devices}", *drop) == UUIDS[0]


def test_a_user_may_not_mount_over_what_is_not_theirs(user_tree):
    assert user_tree.ask("second /usr")["ret"] == -errno.EPERM
    assert "fusermount3" in user_tree.said()
