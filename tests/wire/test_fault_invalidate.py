# SPDX-License-Identifier: BSD-3-Clause
"""Pages of regions that fault are taken back: docs/protocol.md, INVALIDATE."""

import contextlib
import errno
import threading
import time

import faultclient as fc
import pytest
import vfiouser as vu
from faultclient import READ
from faultdev import (
    DELAY,
    DONE,
    ENTRY,
    FIRST,
    LAST,
    RESULT,
    ROUNDS,
    SMALL,
    TABLE,
    VALID,
    WINDOW,
    entry,
    invalidate,
    number,
    post_invalidate,
    wait_for,
)
from vfiouser import PAGE


def test_invalidate_in_a_callback(fault_client, channel):
    """The write that causes it is answered after the acknowledgement, and the next touch asks."""
    entry(fault_client, 5, 0, 1)
    channel.fault(TABLE, 5 * PAGE)
    entry(fault_client, 5, 1, 2)
    msg_id = post_invalidate(fault_client, 5, 5)
    got = channel.recv()
    assert (got.kind, got.region, got.first, got.last) == (
        fc.INVALIDATE, TABLE, 5 * PAGE, 6 * PAGE - 1)
    fault_client.expect_silence()
    channel.acknowledge(got)
    assert not fault_client.expect_reply(msg_id, vu.REGION_WRITE).errno
    got = channel.fault(TABLE, 5 * PAGE)
    assert got.offset == 2 * PAGE
    with channel.open_map(got) as m:
        assert m[:8] == number(1, 2)


def test_invalidate_the_whole_region(fault_client, channel):
    entry(fault_client, 255, 0, 1)
    channel.fault(TABLE, 255 * PAGE)
    invalidate(fault_client, channel, 0, 255)


def test_invalidate_from_a_thread(fault_client, channel):
    entry(fault_client, 8, 0, 1)
    fault_client.write32(vu.BAR0, FIRST, 0)
    channel.fault(TABLE, 8 * PAGE)
    # LAST is kept from a first invalidation, which no page was told of … but this one.
    invalidate(fault_client, channel, 0, 20)
    channel.fault(TABLE, 8 * PAGE)
    fault_client.write32(vu.BAR0, ROUNDS, 1)
    channel.expect_invalidate(TABLE, 0, 21 * PAGE - 1)
    wait_for(lambda: fault_client.read32(vu.BAR0, DONE) == 2, "it does not return")


def test_untouched_pages_need_no_message(fault_client, channel):
    """… nor those that were taken back already."""
    entry(fault_client, 5, 0, 1)
    channel.fault(TABLE, 5 * PAGE)
    fault_client.write32(vu.BAR0, FIRST, 6)
    fault_client.write32(vu.BAR0, LAST, 255)
    invalidate(fault_client, channel, 5, 5)
    fault_client.write32(vu.BAR0, FIRST, 0)
    fault_client.write32(vu.BAR0, LAST, 255)
    assert fault_client.read32(vu.BAR0, DONE) == 3 and channel.silent()


def test_refused_pages_are_taken_back_too(fault_client, channel):
    channel.refused(errno.EFAULT, TABLE, 40 * PAGE)
    invalidate(fault_client, channel, 40, 40)


@pytest.mark.parametrize("first, last, region", [
    (5, 4, TABLE), (0, 256, TABLE), (256, 256, TABLE), (0, 0xFFFFFFFF, TABLE), (0, 0, vu.BAR0),
    (0, 0, vu.CONFIG), (0, 0, 11), (0, 5, SMALL),
])
def test_invalidate_what_is_not_there(fault_client, channel, first, last, region):
    msg_id = post_invalidate(fault_client, first, last, region)
    assert not fault_client.expect_reply(msg_id, vu.REGION_WRITE).errno
    assert fault_client.read32(vu.BAR0, RESULT) == errno.EINVAL and channel.silent()


def test_fault_while_an_invalidation_waits(fault_client, channel):
    """The device's thread waits for the acknowledgement; faults are answered meanwhile."""
    entry(fault_client, 0, 0, 0)
    entry(fault_client, 1, 0, 1)
    channel.fault(TABLE, 0)
    invalidate(fault_client, channel, 0, 0)
    channel.fault(TABLE, 0)
    fault_client.write32(vu.BAR0, ROUNDS, 1)
    got = channel.recv()
    assert got.kind == fc.INVALIDATE
    assert not channel.fault(TABLE, PAGE).error
    assert not channel.fault(TABLE, 0).error
    channel.acknowledge(got)
    wait_for(lambda: fault_client.read32(vu.BAR0, DONE) == 2, "it does not return")
    # The page was told of again before the acknowledgement: it is still known.
    invalidate(fault_client, channel, 0, 0)


def test_fault_that_crosses_an_invalidation_in_a_callback(fault_client, channel):
    """The callback holds the device's lock, which the answer needs: who waits for the
    acknowledgement reads the fault, and it is answered afterwards."""
    entry(fault_client, 0, 0, 0)
    entry(fault_client, 1, 0, 1)
    channel.fault(TABLE, 0)
    msg_id = post_invalidate(fault_client, 0, 0)
    got = channel.recv()
    tags = [channel.post(TABLE, PAGE), channel.post(TABLE, 0)]
    time.sleep(0.05)
    assert channel.silent()
    channel.acknowledge(got)
    for tag in tags:
        assert not channel.expect_map(tag, TABLE).error
    assert not fault_client.expect_reply(msg_id, vu.REGION_WRITE).errno


class Resolver:
    """A thread that handles the channel's packets, as a client's would: what is mapped where, by
    the first page of a region and in the order of the packets."""

    def __init__(self, channel):
        self.channel, self.mapped, self.open = channel, {}, set()
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        with contextlib.suppress(vu.Disconnected, OSError):
            while True:
                got = self.channel.recv()
                with self.changed:
                    if got.kind == fc.MAP:
                        self.mapped[got.region, got.first] = got
                        self.open.remove(got.tag)
                    else:
                        for region, first in list(self.mapped):
                            if region == got.region and got.first <= first <= got.last:
                                del self.mapped[region, first]
                        self.channel.acknowledge(got)
                    self.changed.notify_all()

    def post(self, region, offset, access=READ):
        with self.changed:
            tag = self.channel.post(region, offset, access)
            self.open.add(tag)

    def settle(self):
        """Until every fault is answered."""
        with self.changed:
            assert self.changed.wait_for(lambda: not self.open, vu.TIMEOUT)


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_what_is_mapped_is_current(fault_client, channel, delay):
    """The driver looks its table up late, the table changes, its thread invalidates: when that has
    returned, a page that the fault_client has is the page of the table."""
    resolver = Resolver(channel)
    entry(fault_client, 0, 0, 0)
    fault_client.write32(vu.BAR0, FIRST, 0)
    fault_client.write32(vu.BAR0, DELAY, delay)
    for page in range(1, 60):
        resolver.post(TABLE, 0)
        fault_client.write32(vu.BAR0, ENTRY, VALID | page << 16)
        fault_client.write32(vu.BAR0, ROUNDS, 1)
        wait_for(lambda page=page: fault_client.read32(vu.BAR0, DONE) == page, "not done")
        resolver.settle()
        got = resolver.mapped.get((TABLE, 0))
        assert got is None or got.offset == page * PAGE
        resolver.post(TABLE, 0)
        resolver.settle()
        assert resolver.mapped[TABLE, 0].offset == page * PAGE


def test_storm(fault_client, channel):
    """Faults, table changes by messages, and the device's thread that invalidates."""
    rounds = 400
    resolver = Resolver(channel)
    entry(fault_client, 0, 0, 0)
    fault_client.write32(vu.BAR0, FIRST, 0)
    fault_client.write32(vu.BAR0, LAST, 255)
    fault_client.write32(vu.BAR0, ROUNDS, rounds)
    done = 0
    while done <= rounds:
        if len(resolver.open) < fc.MAX_OPEN:
            resolver.post(TABLE, done % 7 * PAGE)
        entry(fault_client, done % 5, done % 3, done % 64)
        done = fault_client.read32(vu.BAR0, DONE)
    resolver.settle()
    assert fault_client.read(WINDOW, 0, 8) == number(1, 4)
