# SPDX-License-Identifier: BSD-3-Clause
"""
The rules of a CDI specification, version 0.6.0: those of the published schema (schema/schema.json and
schema/defs.json of github.com/cncf-tags/container-device-interface at v0.6.0) and of SPEC.md there,
as far as they concern what umdev writes.
"""

import re

VERSIONS = ("0.3.0", "0.4.0", "0.5.0", "0.6.0")
DOMAIN = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
CLASS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?")
DEVICE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?")
ENV = re.compile(r"[^=\0]+=[^\0]*")
ANNOTATION = re.compile(r"([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9_.-]{,61}[A-Za-z0-9])?")


def check_members(what, needed, optional=()):
    assert isinstance(what, dict)
    assert set(needed) <= set(what) <= set(needed) | set(optional), what


def check_texts(texts):
    assert isinstance(texts, list) and all(isinstance(text, str) for text in texts), texts


def check_annotations(annotations):
    for name, value in annotations.items():
        assert ANNOTATION.fullmatch(name) and isinstance(value, str), name


def check_mount(mount):
    check_members(mount, ("hostPath", "containerPath"), ("options", "type"))
    assert mount["hostPath"] and mount["containerPath"].startswith("/")
    check_texts(mount.get("options", []))


def check_edits(edits):
    check_members(edits, (), ("env", "deviceNodes", "mounts", "hooks"))
    assert edits, "no edits"
    check_texts(edits.get("env", []))
    assert all(ENV.fullmatch(env) for env in edits.get("env", [])), edits
    for mount in edits.get("mounts", []):
        check_mount(mount)


def check_device(device):
    check_members(device, ("name", "containerEdits"), ("annotations",))
    assert DEVICE.fullmatch(device["name"]), device["name"]
    check_annotations(device.get("annotations", {}))
    check_edits(device["containerEdits"])


def check_cdi(spec):
    check_members(spec, ("cdiVersion", "kind", "devices"), ("annotations", "containerEdits"))
    assert spec["cdiVersion"] in VERSIONS, spec["cdiVersion"]
    assert spec["kind"].count("/") == 1, spec["kind"]
    vendor, name = spec["kind"].split("/")
    assert DOMAIN.fullmatch(vendor) and CLASS.fullmatch(name), spec["kind"]
    assert isinstance(spec["devices"], list) and spec["devices"], "no devices"
    for device in spec["devices"]:
        check_device(device)
    names = [device["name"] for device in spec["devices"]]
    assert len(set(names)) == len(names), names
