# SPDX-License-Identifier: BSD-3-Clause
"""tests/drivers/umdev-faultdev.c as the tests use it."""

import struct
import time

import vfiouser as vu
from vfiouser import PAGE

TABLE, WINDOW, READONLY, SMALL, IDENTITY = vu.BAR2, vu.BAR4, vu.BAR5, 9, 10
SIZES = {TABLE: 256 * PAGE, WINDOW: 16 * PAGE, READONLY: 4 * PAGE, SMALL: 5 * PAGE}
INDEX, ENTRY, FIRST, LAST, ROUNDS, DONE, RESULT, ASKED, EXTEND, WRONG, DELAY, DISCARD, REGION = range(
    0, 0x34, 4
)
DENY = 0x34
IDENTITY_PAGES, IDENTITY_FIRST = 16, 16  # of object 0
VALID, WRITABLE = 1, 2
SHARED = 3  # the object of all devices
WRONGS = {"object": 1, "region": 2, "page": 3, "prot": 4, "no object": 5, "positive": 6}
INVALIDATES = 7
BOUND = 5  # seconds that a client may take for an acknowledgement


def entry(client, page, obj, obj_page, writable=True):
    client.write32(vu.BAR0, INDEX, page)
    value = VALID | (WRITABLE if writable else 0) | obj << 8 | obj_page << 16
    client.write32(vu.BAR0, ENTRY, value)


def number(obj, page):
    """What a page begins with."""
    return struct.pack("=II", obj, page)


def post_invalidate(client, first, last, region=TABLE):
    """The write that invalidates; its reply comes after the acknowledgement."""
    client.write32(vu.BAR0, REGION, region)
    client.write32(vu.BAR0, FIRST, first)
    body = vu.region_body(vu.BAR0, LAST, 4, struct.pack("=I", last))
    return client.request(vu.REGION_WRITE, body)


def invalidate(client, channel, first, last, region=TABLE):
    msg_id = post_invalidate(client, first, last, region)
    channel.expect_invalidate(region, first * PAGE, last * PAGE + PAGE - 1)
    assert not client.expect_reply(msg_id, vu.REGION_WRITE).errno
    assert client.read32(vu.BAR0, RESULT) == 0


def wait_for(condition, what):
    deadline = time.monotonic() + vu.TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.002)
