# SPDX-License-Identifier: BSD-3-Clause
"""docs/protocol-coverage.md names tests that exist, and leaves nothing of the server's out."""

import re
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
PAGE = (TOP / "docs/protocol-coverage.md").read_text()
NAMED = re.compile(r"`(\w+/[\w/.]+)::(\w+)`")

# What the files of the server's requests return and no reply carries: a connection's end, or a
# driver's own business.
NOT_IN_REPLIES = {"EAGAIN", "ECONNRESET", "EPIPE", "EPROTO", "EMSGSIZE", "EFAULT", "EOVERFLOW"}
NOT_IN_REPLIES |= {"EDEADLK", "EOPNOTSUPP"}


def rows():
    return [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| ---")]


def is_heading(row):
    return row.rstrip().endswith("| tests |")


@pytest.mark.parametrize("path, name", sorted(set(NAMED.findall(PAGE))))
def test_named_test_exists(path, name):
    text = (TOP / "tests" / path).read_text()
    if path.endswith(".py"):
        assert re.search(rf"^def {name}\(", text, re.M), f"{path} has no {name}"
    else:
        assert re.search(rf"^static void {name}\(", text, re.M), f"{path} has no {name}"
        assert re.search(rf"\b{name}\b", text[text.index("\nint main(") :]), f"{path} does not run {name}"


def test_each_row_has_a_test():
    assert len(rows()) > 90
    for row in rows():
        assert is_heading(row) or NAMED.search(row), row


def test_no_command_is_left_out():
    header = (TOP / "src/wire/vfio_user.h").read_text()
    commands = re.findall(r"^    WIRE_(\w+) = (\d+),", header.split("};")[0], re.M)
    assert len(commands) > 15
    for name, number in commands:
        assert name == "COMMAND_MAX" or f"| {number} | {name} |" in PAGE, name


def test_no_flag_is_left_out():
    """Of headers, DMA, regions and their capabilities, features."""
    header = (TOP / "src/wire/vfio_user.h").read_text()
    kinds = "DMA_MAP|DMA_UNMAP|REGION_FLAG|CAP|FEATURE(?!_MASK)"
    names = re.findall(rf"^    WIRE_(?:{kinds})_(\w+) = ", header, re.M)
    assert len(names) >= 11
    flags = PAGE.split("## Flags")[1].split("## Errors")[0]
    for name in names:
        assert name in flags, name


def test_no_errno_is_left_out():
    errors = PAGE.split("## Errors")[1].split("## The kernel")[0]
    files = [*(TOP / "src/server").glob("*.c"), *(TOP / "src/iommu").glob("*.c")]
    device = ("irq_set.c", "region.c", "device.c", "dma.c", "feature.c")
    files += [TOP / "src/device" / name for name in device]
    used = set()
    for path in files:
        used |= set(re.findall(r"-(E[A-Z0-9]+)\b", path.read_text()))
    used -= NOT_IN_REPLIES
    assert {"EINVAL", "ENOSYS", "ENOTTY", "EPERM", "ESHUTDOWN"} <= used
    for name in used:
        assert name in errors, name
