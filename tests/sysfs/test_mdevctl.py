# SPDX-License-Identifier: BSD-3-Clause
"""
mdevctl, unmodified, on the tree: bookworm's with the tree in the place of /sys, in a mount namespace
of its own; and trixie's, which can be told where its /sys is. What it says is compared with what the
host says.
"""

import json
import os
import shutil
import subprocess

import pytest
from tree import UUIDS, mdevctl_of_trixie, text

NAMESPACE = 'mount --bind "$0" /sys && mount --bind "$1" /etc/mdevctl.d && shift && exec "$@"'


class Bookworm:
    """The system's."""

    def __init__(self, tree):
        if not shutil.which("mdevctl"):
            pytest.skip("no mdevctl: install its package")
        if os.geteuid() != 0:
            pytest.skip("only root can put the tree in the place of /sys")
        self.config = tree.folder / "mdevctl.d"
        for name in ("callouts", "notifiers"):
            (self.config / "scripts.d" / name).mkdir(parents=True)
        self.command = ["unshare", "-m", "sh", "-c", NAMESPACE, tree.sys, self.config, "mdevctl"]
        self.environment = None


class Trixie:
    """A newer one, kept in a cache; its root is the folder that has the tree as sys."""

    def __init__(self, tree):
        command, why_not = mdevctl_of_trixie()
        if not command:
            pytest.skip(f"no mdevctl of trixie: {why_not}")
        self.config = tree.folder / "etc/mdevctl.d"
        self.config.mkdir(parents=True)
        for name in ("callouts", "notifiers"):
            (tree.folder / "usr/lib/mdevctl/scripts.d" / name).mkdir(parents=True)
            (self.config / "scripts.d" / name).mkdir(parents=True)
        self.command = [command]
        self.environment = dict(os.environ, MDEVCTL_ENV_ROOT=str(tree.folder))


class Mdevctl:
    def __init__(self, kind, tree):
        self.tree = tree
        self.kind = kind(tree)

    def run(self, line):
        return subprocess.run([*self.kind.command, *line.split()], env=self.kind.environment, capture_output=True,
                              text=True, check=False)

    def __call__(self, line):
        ran = self.run(line)
        assert ran.returncode == 0, (line, ran.stderr)
        return ran.stdout

    def fails(self, line):
        ran = self.run(line)
        assert ran.returncode != 0, (line, ran.stdout)
        return ran.stderr

    def json(self, line):
        return json.loads(self(line + " --dumpjson"))

    def types(self):
        """{parent: {type: fields}}"""
        return {
            parent: {name: fields for each in types for name, fields in each.items()}
            for entry in self.json("types")
            for parent, types in entry.items()
        }

    def devices(self, line="list"):
        """{uuid: fields, with the parent}"""
        return {
            uuid: fields | {"parent": parent}
            for entry in self.json(line)
            for parent, devices in entry.items()
            for each in devices
            for uuid, fields in each.items()
        }

    def defined(self, parent, uuid):
        return json.loads(text(self.kind.config / parent / uuid))


@pytest.fixture(params=[Bookworm, Trixie], ids=["bookworm", "trixie"])
def mdevctl(request, tree):
    return Mdevctl(request.param, tree)


def host_types(tree):
    """As mdevctl's JSON has them."""
    types = {}
    for of in tree.do("types")["list"]:
        fields = {
            "available_instances": min(of["available"], 2**31 - 1),
            "device_api": of["device_api"],
            "name": of["pretty_name"],
        }
        if of["description"] is not None:
            fields["description"] = of["description"]
        types.setdefault(of["parent"], {})[of["name"]] = fields
    return types


def host_devices(tree):
    return {
        device["uuid"]: {"mdev_type": device["type"], "parent": device["parent"]}
        for device in tree.do("devices")["list"]
    }


def assert_agree(mdevctl):
    assert mdevctl.types() == host_types(mdevctl.tree)
    listed = {
        uuid: {name: fields[name] for name in ("mdev_type", "parent")} for uuid, fields in mdevctl.devices().items()
    }
    assert listed == host_devices(mdevctl.tree)


def test_types(mdevctl):
    assert mdevctl.types() == host_types(mdevctl.tree)
    mdevctl.tree.do(f"create t0 treedev-big {UUIDS[0]}")
    assert mdevctl.types()["t0"]["treedev-big"]["available_instances"] == 1
    assert_agree(mdevctl)
    said = mdevctl("types --parent t1")
    assert "t0" not in said
    for words in ("t1\n", "  treedev-big\n", "Available instances: 2\n", "Device API: vfio-pci\n", "Name: A big one\n",
                  "Description: two at once\n"):
        assert words in said


def test_start_and_stop(mdevctl):
    mdevctl(f"start --uuid {UUIDS[0]} --parent t0 --type treedev-small")
    mdevctl(f"start --uuid {UUIDS[1]} --parent t1 --type treedev-big")
    assert host_devices(mdevctl.tree) == {
        UUIDS[0]: {"mdev_type": "treedev-small", "parent": "t0"},
        UUIDS[1]: {"mdev_type": "treedev-big", "parent": "t1"},
    }
    assert_agree(mdevctl)
    assert mdevctl("list").split("\n")[:2] == [
        f"{UUIDS[0]} t0 treedev-small manual",
        f"{UUIDS[1]} t1 treedev-big manual",
    ]
    assert mdevctl("list --parent t1").split() == [UUIDS[1], "t1", "treedev-big", "manual"]
    mdevctl(f"stop --uuid {UUIDS[0]}")
    assert list(host_devices(mdevctl.tree)) == [UUIDS[1]]
    assert_agree(mdevctl)


def test_a_uuid_of_its_own(mdevctl):
    uuid = mdevctl("start --parent t0 --type treedev-small").strip()
    assert list(host_devices(mdevctl.tree)) == [uuid]


def test_define_modify_start(mdevctl):
    mdevctl(f"define --uuid {UUIDS[0]} --parent t0 --type treedev-big")
    assert mdevctl.defined("t0", UUIDS[0]) == {"mdev_type": "treedev-big", "start": "manual", "attrs": []}
    mdevctl(f"modify --uuid {UUIDS[0]} --addattr value --value first")
    mdevctl(f"modify --uuid {UUIDS[0]} --addattr kick --value xyz")
    mdevctl(f"modify --uuid {UUIDS[0]} --addattr value --value second")
    mdevctl(f"modify --uuid {UUIDS[0]} --delattr --index 0")
    wanted = [{"kick": "xyz"}, {"value": "second"}]
    assert mdevctl.defined("t0", UUIDS[0])["attrs"] == wanted
    assert mdevctl.devices("list --defined")[UUIDS[0]]["attrs"] == wanted
    assert host_devices(mdevctl.tree) == {}
    mdevctl(f"start --uuid {UUIDS[0]}")
    device = mdevctl.tree.device(UUIDS[0])
    assert text(device / "value") == "second\n"
    assert text(device / "kicks") == "3\n"
    assert_agree(mdevctl)
    assert mdevctl("list").strip() == f"{UUIDS[0]} t0 treedev-big manual (defined)"
    mdevctl(f"stop --uuid {UUIDS[0]}")
    mdevctl(f"modify --uuid {UUIDS[0]} --type treedev-small --auto")
    assert mdevctl.defined("t0", UUIDS[0])["mdev_type"] == "treedev-small"
    mdevctl(f"undefine --uuid {UUIDS[0]}")
    assert mdevctl.devices("list --defined") == {}


def test_define_what_runs(mdevctl):
    mdevctl.tree.do(f"create t1 treedev-slow {UUIDS[0]}")
    mdevctl(f"define --uuid {UUIDS[0]}")
    assert mdevctl.defined("t1", UUIDS[0]) == {"mdev_type": "treedev-slow", "start": "manual", "attrs": []}
    # As JSON, and made again from it.
    definition = mdevctl.json(f"list --defined --uuid {UUIDS[0]}")
    path = mdevctl.tree.folder / "definition.json"
    path.write_text(json.dumps(definition if isinstance(definition, dict) else definition[0]["t1"][0][UUIDS[0]]))
    mdevctl(f"define --uuid {UUIDS[1]} --parent t0 --jsonfile {path}")
    mdevctl(f"start --uuid {UUIDS[1]}")
    assert host_devices(mdevctl.tree)[UUIDS[1]] == {"mdev_type": "treedev-slow", "parent": "t0"}


def test_definitions_that_start_by_themselves(mdevctl):
    """What udev runs when a parent comes."""
    for i, start in enumerate(["--auto", "", "--auto"]):
        mdevctl(f"define --uuid {UUIDS[i]} --parent t0 --type treedev-small {start}")
    mdevctl(f"define --uuid {UUIDS[3]} --parent t1 --type treedev-small --auto")
    mdevctl("start-parent-mdevs t0")
    assert sorted(host_devices(mdevctl.tree)) == [UUIDS[0], UUIDS[2]]
    assert_agree(mdevctl)


def test_an_attribute_that_can_not_be_set(mdevctl):
    """The device does not stay."""
    mdevctl(f"define --uuid {UUIDS[0]} --parent t0 --type treedev-small")
    mdevctl(f"modify --uuid {UUIDS[0]} --addattr value --value bad")
    mdevctl.fails(f"start --uuid {UUIDS[0]}")
    assert host_devices(mdevctl.tree) == {}


def test_mistakes(mdevctl):
    mdevctl(f"start --uuid {UUIDS[0]} --parent t0 --type treedev-big")
    for line in (
        f"start --uuid {UUIDS[0]} --parent t0 --type treedev-big",
        f"start --uuid {UUIDS[0]} --parent t1 --type treedev-small",
        f"start --uuid {UUIDS[1]} --parent t9 --type treedev-small",
        f"start --uuid {UUIDS[1]} --parent t0 --type treedev-nosuch",
        f"stop --uuid {UUIDS[1]}",
    ):
        mdevctl.fails(line)
    mdevctl(f"start --uuid {UUIDS[1]} --parent t0 --type treedev-big")
    mdevctl.fails(f"start --uuid {UUIDS[2]} --parent t0 --type treedev-big")
    assert sorted(host_devices(mdevctl.tree)) == UUIDS[:2]
    assert_agree(mdevctl)
