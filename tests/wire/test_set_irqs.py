# SPDX-License-Identifier: BSD-3-Clause
"""DEVICE_SET_IRQS: every row of the kernel's, and what then becomes of a device's interrupts."""

import errno
import itertools
import os
import struct

import pytest
import testdev as td
import vfiouser as vu
from vfiouser import eventfds, signalled

NONE_TRIGGER = vu.DATA_NONE | vu.ACTION_TRIGGER
BOOL_TRIGGER = vu.DATA_BOOL | vu.ACTION_TRIGGER
FD_TRIGGER = vu.DATA_EVENTFD | vu.ACTION_TRIGGER
MASK = vu.DATA_NONE | vu.ACTION_MASK
UNMASK = vu.DATA_NONE | vu.ACTION_UNMASK
FD_UNMASK = vu.DATA_EVENTFD | vu.ACTION_UNMASK


def refused(client, number, flags, index, start, count, data=b"", fds=()):
    body = vu.set_irqs_body(flags, index, start, count, data)
    client.fails(number, vu.DEVICE_SET_IRQS, body, fds)


# ------------------------------------------------------------------ MSI-X and MSI


@pytest.mark.parametrize("index, vectors", [(vu.MSIX, td.NUM_MSIX), (vu.MSI, td.NUM_MSI)])
def test_each_vector_signals_its_eventfd(client, index, vectors):
    with eventfds(vectors) as fds:
        client.set_irqs(FD_TRIGGER, index, 0, vectors, fds=fds)
        for vector in range(vectors):
            assert td.trigger(client, index, vector) == 0
            assert [signalled(fd) for fd in fds] == [int(v == vector) for v in range(vectors)]


def test_signals_add_up(client):
    with eventfds(1) as fds:
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 1, fds=fds)
        for _ in range(5):
            td.trigger(client, vu.MSIX, 0)
        assert signalled(fds[0]) == 5


def test_vectors_from_the_middle(client):
    with eventfds(2) as fds:
        client.set_irqs(FD_TRIGGER, vu.MSIX, 5, 2, fds=fds)
        assert td.trigger(client, vu.MSIX, 5) == 0
        assert td.trigger(client, vu.MSIX, 6) == 0
        assert td.trigger(client, vu.MSIX, 7) == 0, "nobody listens: lost, and no error"
        assert [signalled(fd) for fd in fds] == [1, 1]


def test_replacing_an_eventfd(client):
    with eventfds(2) as (old, new):
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 1, fds=[old])
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 1, fds=[new])
        td.trigger(client, vu.MSIX, 0)
        assert (signalled(old), signalled(new)) == (0, 1)


def test_vector_added_while_enabled(client):
    with eventfds(2) as (first, second):
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 1, fds=[first])
        client.set_irqs(FD_TRIGGER, vu.MSIX, 3, 1, fds=[second])
        td.trigger(client, vu.MSIX, 3)
        td.trigger(client, vu.MSIX, 0)
        assert (signalled(first), signalled(second)) == (1, 1)


def test_no_fds_take_eventfds_away(client):
    """As the kernel's −1: these vectors only, the index stays enabled."""
    with eventfds(3) as fds:
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 3, fds=fds)
        client.set_irqs(FD_TRIGGER, vu.MSIX, 1, 1)
        for vector in range(3):
            assert td.trigger(client, vu.MSIX, vector) == 0
        assert [signalled(fd) for fd in fds] == [1, 0, 1]
        refused(client, errno.EINVAL, FD_TRIGGER, vu.MSI, 0, 1, fds=fds[:1])


@pytest.mark.parametrize("index", [vu.MSIX, vu.MSI])
@pytest.mark.parametrize("start", [0, 3])
def test_disable(client, index, start):
    """TRIGGER, NONE, count 0: the whole index, whatever `start` is."""
    with eventfds(4) as fds:
        client.set_irqs(FD_TRIGGER, index, 0, 4, fds=fds)
        client.set_irqs(NONE_TRIGGER, index, start, 0)
        for vector in range(4):
            td.trigger(client, index, vector)
        assert not any(signalled(fd) for fd in fds)
        other = vu.MSI if index == vu.MSIX else vu.MSIX
        client.set_irqs(FD_TRIGGER, other, 0, 1, fds=fds[:1])


def test_loopback_none(client):
    """The client triggers a range itself."""
    with eventfds(4) as fds:
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 4, fds=fds)
        client.set_irqs(NONE_TRIGGER, vu.MSIX, 1, 2)
        assert [signalled(fd) for fd in fds] == [0, 1, 1, 0]


def test_loopback_bool(client):
    with eventfds(4) as fds:
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 4, fds=fds)
        client.set_irqs(BOOL_TRIGGER, vu.MSIX, 0, 4, bytes([1, 0, 0, 1]))
        assert [signalled(fd) for fd in fds] == [1, 0, 0, 1]


@pytest.mark.parametrize("index", [vu.MSIX, vu.MSI, vu.INTX])
def test_loopback_needs_an_enabled_index(client, index):
    refused(client, errno.EINVAL, NONE_TRIGGER, index, 0, 1)
    refused(client, errno.EINVAL, BOOL_TRIGGER, index, 0, 1, b"\1")


@pytest.mark.parametrize("index", [vu.MSIX, vu.MSI])
@pytest.mark.parametrize("action", [vu.ACTION_MASK, vu.ACTION_UNMASK])
@pytest.mark.parametrize("data", [vu.DATA_NONE, vu.DATA_BOOL])
def test_message_interrupts_have_no_mask_here(client, index, action, data):
    with eventfds(1) as fds:
        client.set_irqs(FD_TRIGGER, index, 0, 1, fds=fds)
        payload = b"\1" if data == vu.DATA_BOOL else b""
        refused(client, errno.ENOTTY, action | data, index, 0, 1, payload)


def test_all_or_nothing(client):
    """The last fd is no eventfd: none of the call's vectors changes hands."""
    with eventfds(3) as fds, vu.memory_file() as wrong:
        refused(client, errno.EINVAL, FD_TRIGGER, vu.MSIX, 0, 3, fds=[*fds[:2], wrong])
        for vector in range(3):
            td.trigger(client, vu.MSIX, vector)
        assert not any(signalled(fd) for fd in fds)
        # And the index was not left enabled.
        client.set_irqs(FD_TRIGGER, vu.MSI, 0, 1, fds=fds[:1])


@pytest.mark.parametrize("count", [1, 2, 4, 5, 8])
def test_as_many_fds_as_vectors_or_none(client, count):
    with eventfds(3) as fds:
        refused(client, errno.EINVAL, FD_TRIGGER, vu.MSIX, 0, count, fds=fds)


@pytest.mark.parametrize("flags", [NONE_TRIGGER, BOOL_TRIGGER, MASK, UNMASK])
def test_fds_without_data_eventfd(client, flags):
    with eventfds(1) as fds:
        data = b"\1" if flags & vu.DATA_BOOL else b""
        refused(client, errno.EINVAL, flags, vu.MSIX, 0, 1, data, fds)


# ------------------------------------------------------------------ INTx


@pytest.fixture
def intx(client):
    """A client that listens to INTx: the client and its eventfd."""
    with eventfds(1) as (fd,):
        client.set_irqs(FD_TRIGGER, vu.INTX, 0, 1, fds=[fd])
        yield client, fd


def test_intx_signals_once_and_masks_itself(intx):
    client, fd = intx
    td.set_level(client, True)
    td.set_level(client, True)
    assert signalled(fd) == 1
    td.set_level(client, False)
    td.set_level(client, True)
    assert signalled(fd) == 0, "masked until the client unmasks it"


def test_unmask_signals_again_while_raised(intx):
    client, fd = intx
    td.set_level(client, True)
    assert signalled(fd) == 1
    client.set_irqs(UNMASK, vu.INTX, 0, 1)
    assert signalled(fd) == 1
    td.set_level(client, False)
    client.set_irqs(UNMASK, vu.INTX, 0, 1)
    assert signalled(fd) == 0
    td.set_level(client, True)
    assert signalled(fd) == 1


def test_mask(intx):
    client, fd = intx
    client.set_irqs(MASK, vu.INTX, 0, 1)
    td.set_level(client, True)
    assert signalled(fd) == 0
    client.set_irqs(UNMASK, vu.INTX, 0, 1)
    assert signalled(fd) == 1


def test_masked_and_lowered_again(intx):
    client, fd = intx
    client.set_irqs(MASK, vu.INTX, 0, 1)
    td.set_level(client, True)
    td.set_level(client, False)
    client.set_irqs(UNMASK, vu.INTX, 0, 1)
    assert signalled(fd) == 0


def test_mask_by_bool(intx):
    client, fd = intx
    client.set_irqs(vu.DATA_BOOL | vu.ACTION_MASK, vu.INTX, 0, 1, b"\0")
    td.set_level(client, True)
    assert signalled(fd) == 1
    client.set_irqs(vu.DATA_BOOL | vu.ACTION_UNMASK, vu.INTX, 0, 1, b"\0")
    assert signalled(fd) == 0
    client.set_irqs(vu.DATA_BOOL | vu.ACTION_UNMASK, vu.INTX, 0, 1, b"\1")
    assert signalled(fd) == 1


def test_line_raised_before_anybody_listened(client):
    td.set_level(client, True)
    with eventfds(1) as (fd,):
        client.set_irqs(FD_TRIGGER, vu.INTX, 0, 1, fds=[fd])
        # Signalled now or at the unmask, which a client does when it enables: not lost.
        client.set_irqs(UNMASK, vu.INTX, 0, 1)
        assert signalled(fd) >= 1


def test_unmask_by_eventfd(intx):
    client, fd = intx
    with eventfds(1) as (unmask,):
        client.set_irqs(FD_UNMASK, vu.INTX, 0, 1, fds=[unmask])
        td.set_level(client, True)
        assert signalled(fd) == 1
        for _ in range(3):
            os.eventfd_write(unmask, 1)
            assert vu.wait_signalled(fd) == 1, "still raised"
        td.set_level(client, False)
        os.eventfd_write(unmask, 1)
        client.check_in_step()
        assert signalled(fd) == 0


def test_unmask_eventfd_is_taken_away(intx):
    client, fd = intx
    with eventfds(1) as (unmask,):
        client.set_irqs(FD_UNMASK, vu.INTX, 0, 1, fds=[unmask])
        client.set_irqs(FD_UNMASK, vu.INTX, 0, 1)
        td.set_level(client, True)
        assert signalled(fd) == 1
        os.eventfd_write(unmask, 1)
        client.check_in_step()
        assert signalled(fd) == 0
        client.set_irqs(UNMASK, vu.INTX, 0, 1)
        assert signalled(fd) == 1


def test_unmask_eventfd_is_not_replaced_but_taken_away_first(intx):
    """EBUSY, as the kernel's; the first one stays."""
    client, fd = intx
    with eventfds(2) as (old, new):
        client.set_irqs(FD_UNMASK, vu.INTX, 0, 1, fds=[old])
        refused(client, errno.EBUSY, FD_UNMASK, vu.INTX, 0, 1, fds=[new])
        client.set_irqs(FD_UNMASK, vu.INTX, 0, 1)
        client.set_irqs(FD_UNMASK, vu.INTX, 0, 1, fds=[new])
        td.set_level(client, True)
        assert signalled(fd) == 1
        os.eventfd_write(new, 1)
        assert vu.wait_signalled(fd) == 1


def test_mask_by_eventfd_does_not_exist(intx):
    client, _ = intx
    with eventfds(1) as fds:
        refused(client, errno.ENOTTY, vu.DATA_EVENTFD | vu.ACTION_MASK, vu.INTX, 0, 1, fds=fds)


@pytest.mark.parametrize("flags", [MASK, UNMASK])
def test_mask_needs_intx_enabled(client, flags):
    refused(client, errno.EINVAL, flags, vu.INTX, 0, 1)


def test_unmask_eventfd_needs_intx_enabled(client):
    with eventfds(1) as fds:
        refused(client, errno.EINVAL, FD_UNMASK, vu.INTX, 0, 1, fds=fds)


def test_intx_stays_enabled_without_an_eventfd(intx):
    client, fd = intx
    client.set_irqs(FD_TRIGGER, vu.INTX, 0, 1)
    td.set_level(client, True)
    assert signalled(fd) == 0
    with eventfds(1) as fds:
        refused(client, errno.EINVAL, FD_TRIGGER, vu.MSIX, 0, 1, fds=fds)


def test_intx_disable(intx):
    client, fd = intx
    client.set_irqs(NONE_TRIGGER, vu.INTX, 0, 0)
    td.set_level(client, True)
    assert signalled(fd) == 0
    refused(client, errno.EINVAL, UNMASK, vu.INTX, 0, 1)


@pytest.mark.parametrize("flags, data", [(NONE_TRIGGER, b""), (BOOL_TRIGGER, b"\1")])
def test_intx_loopback(intx, flags, data):
    client, fd = intx
    client.set_irqs(flags, vu.INTX, 0, 1, data)
    assert signalled(fd) == 1


def test_intx_is_no_message_interrupt(client):
    assert td.trigger(client, vu.INTX, 0) == errno.EINVAL


# ------------------------------------------------------------------ ERR, REQ


@pytest.mark.parametrize("index", [vu.ERR, vu.REQ])
def test_err_and_req(client, index):
    with eventfds(1) as (fd,):
        client.set_irqs(FD_TRIGGER, index, 0, 1, fds=[fd])
        assert td.trigger(client, index, 0) == 0
        assert signalled(fd) == 1
        client.set_irqs(NONE_TRIGGER, index, 0, 1)
        assert signalled(fd) == 1
        client.set_irqs(BOOL_TRIGGER, index, 0, 1, b"\1")
        assert signalled(fd) == 1
        client.set_irqs(FD_TRIGGER, index, 0, 1)
        td.trigger(client, index, 0)
        assert signalled(fd) == 0


def test_err_and_req_go_with_any_other(client):
    with eventfds(3) as fds:
        for index, fd in zip((vu.ERR, vu.MSIX, vu.REQ), fds):
            client.set_irqs(FD_TRIGGER, index, 0, 1, fds=[fd])
        for index in (vu.ERR, vu.MSIX, vu.REQ):
            td.trigger(client, index, 0)
        assert [signalled(fd) for fd in fds] == [1, 1, 1]


# ------------------------------------------------------------------ one at a time


@pytest.mark.parametrize("first, second", itertools.permutations([vu.INTX, vu.MSI, vu.MSIX], 2))
def test_one_of_intx_msi_msix_at_a_time(client, first, second):
    with eventfds(2) as (a, b):
        client.set_irqs(FD_TRIGGER, first, 0, 1, fds=[a])
        refused(client, errno.EINVAL, FD_TRIGGER, second, 0, 1, fds=[b])
        client.set_irqs(NONE_TRIGGER, first, 0, 0)
        client.set_irqs(FD_TRIGGER, second, 0, 1, fds=[b])


# ------------------------------------------------------------------ nonsense


@pytest.mark.parametrize(
    "flags",
    [
        0,
        vu.ACTION_TRIGGER,
        vu.DATA_NONE | vu.DATA_BOOL | vu.ACTION_TRIGGER,
        vu.DATA_NONE | vu.DATA_EVENTFD | vu.ACTION_TRIGGER,
        vu.DATA_BOOL | vu.DATA_EVENTFD | vu.ACTION_TRIGGER,
        0x3F,
        0x40 | NONE_TRIGGER,
        0x80000000 | NONE_TRIGGER,
        0xFFFFFFFF,
    ],
)
def test_flags_that_make_no_sense(client, flags):
    refused(client, errno.EINVAL, flags, vu.MSIX, 0, 1, b"\1")
    refused(client, errno.EINVAL, flags, vu.INTX, 0, 1, b"\1")


@pytest.mark.parametrize(
    "flags",
    [
        vu.DATA_NONE,
        vu.DATA_NONE | vu.ACTION_TRIGGER | vu.ACTION_MASK,
        vu.DATA_NONE | vu.ACTION_MASK | vu.ACTION_UNMASK,
    ],
)
def test_no_action_or_several(client, flags):
    """Nothing that could be done: ENOTTY, as the kernel's."""
    refused(client, errno.ENOTTY, flags, vu.MSIX, 0, 1)
    refused(client, errno.ENOTTY, flags, vu.INTX, 0, 1)


@pytest.mark.parametrize("index", [5, 6, 0x80000000, 0xFFFFFFFF])
def test_index_out_of_range(client, index):
    refused(client, errno.EINVAL, NONE_TRIGGER, index, 0, 0)
    with eventfds(1) as fds:
        refused(client, errno.EINVAL, FD_TRIGGER, index, 0, 1, fds=fds)


@pytest.mark.parametrize(
    "start, count",
    [
        (8, 1),
        (7, 2),
        (0, 9),
        (0xFFFFFFFF, 1),
        (1, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x80000000, 0x80000000),
        (4, 0xFFFFFFFC),
    ],
)
@pytest.mark.parametrize("flags", [NONE_TRIGGER, BOOL_TRIGGER, FD_TRIGGER])
def test_range_out_of_bounds(client, flags, start, count):
    data = bytes(min(count, 64)) if flags & vu.DATA_BOOL else b""
    refused(client, errno.EINVAL, flags, vu.MSIX, start, count, data)
    with eventfds(1) as fds:
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 1, fds=fds)
        refused(client, errno.EINVAL, flags, vu.MSIX, start, count, data)


@pytest.mark.parametrize("start, count", [(0, 2), (1, 1), (1, 0), (0, 0xFFFFFFFF)])
@pytest.mark.parametrize("index", [vu.INTX, vu.ERR, vu.REQ])
def test_indices_with_one_vector(client, index, start, count):
    refused(client, errno.EINVAL, FD_TRIGGER, index, start, count)
    refused(client, errno.EINVAL, NONE_TRIGGER, index, start, count)


@pytest.mark.parametrize("index", [vu.INTX, vu.MSI, vu.MSIX])
def test_device_without_interrupts(plain_client, index):
    with eventfds(1) as fds:
        refused(plain_client, errno.EINVAL, FD_TRIGGER, index, 0, 1, fds=fds)
    refused(plain_client, errno.EINVAL, NONE_TRIGGER, index, 0, 1)


@pytest.mark.parametrize("argsz", [0, 19])
def test_small_argsz(client, argsz):
    body = vu.set_irqs_body(NONE_TRIGGER, vu.MSIX, 0, 0, argsz=argsz)
    client.fails(errno.EINVAL, vu.DEVICE_SET_IRQS, body)


def test_argsz_beyond_the_message(client):
    """What argsz promises must be there."""
    with eventfds(4) as fds:
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 4, fds=fds)
        for data in (b"", b"\1", b"\1\1\1"):
            body = vu.set_irqs_body(BOOL_TRIGGER, vu.MSIX, 0, 4, data, argsz=24)
            client.fails(errno.EINVAL, vu.DEVICE_SET_IRQS, body)
        assert not any(signalled(fd) for fd in fds)


@pytest.mark.parametrize("present, count", [(0, 1), (3, 4), (7, 8)])
def test_fewer_bools_than_vectors(client, present, count):
    with eventfds(8) as fds:
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 8, fds=fds)
        refused(client, errno.EINVAL, BOOL_TRIGGER, vu.MSIX, 0, count, b"\1" * present)
        assert not any(signalled(fd) for fd in fds)


@pytest.mark.parametrize("length", [0, 1, 8, 16, 19])
def test_short_body(client, length):
    body = vu.set_irqs_body(NONE_TRIGGER, vu.MSIX, 0, 0)[:length]
    client.fails(errno.EINVAL, vu.DEVICE_SET_IRQS, body)


def test_random_requests(client):
    """Small numbers and their neighbourhood in every field: an answer each, and in step."""
    values = [0, 1, 2, 7, 8, 9, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
    for flags, index in itertools.product(range(64), range(6)):
        for start, count in ((0, 0), (0, 1), (7, 1), (values[flags % 9], values[index % 9])):
            body = struct.pack("=IIIII", 28, flags, index, start, count) + b"\1" * 8
            client.try_call(vu.DEVICE_SET_IRQS, body)
    client.check_in_step()


def test_driver_hears_of_changes(client):
    before = td.count(client, td.COUNT_IRQS_CHANGED)
    with eventfds(1) as fds:
        client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 1, fds=fds)
        assert td.count(client, td.COUNT_IRQS_CHANGED) > before


def test_interrupts_are_gone_with_the_client(server):
    """The next client may enable what it likes, and the last one's eventfds stay silent."""
    with eventfds(2) as (old, new):
        with server.negotiated() as client:
            client.set_irqs(FD_TRIGGER, vu.INTX, 0, 1, fds=[old])
        with server.negotiated() as client:
            client.set_irqs(FD_TRIGGER, vu.MSIX, 0, 1, fds=[new])
            td.set_level(client, True)
            td.trigger(client, vu.MSIX, 0)
            assert (signalled(old), signalled(new)) == (0, 1)
