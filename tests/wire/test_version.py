# SPDX-License-Identifier: BSD-3-Clause
"""VERSION: the first message, and what the two ends agree on."""

import errno
import json
import struct

import pytest
import vfiouser as vu


@pytest.fixture
def fresh(server):
    """Connected, nothing said."""
    with server.client() as client:
        yield client


def expect_refused(client, body):
    """An error reply, EINVAL, and the end of the connection."""
    assert client.try_call(vu.VERSION, body).errno == errno.EINVAL
    client.expect_closed()


def test_reply_is_a_subset_of_what_was_proposed(fresh):
    proposed = json.loads(vu.QEMU_CAPABILITIES)["capabilities"]
    major, minor, capabilities = fresh.negotiate()
    assert (major, minor) == (0, 0)
    assert set(capabilities) <= set(proposed)
    assert 1 <= capabilities.get("max_msg_fds", 1) <= proposed["max_msg_fds"]
    assert 1 <= capabilities.get("max_data_xfer_size", 1 << 20)
    assert capabilities.get("pgsizes", 4096) & 4096
    fresh.check_in_step()


def test_nothing_is_offered_to_a_client_that_offered_nothing(fresh):
    assert fresh.negotiate(text='{"capabilities":{}}')[2] == {}
    fresh.check_in_step()


@pytest.mark.parametrize("text", [None, "{}", '{"capabilities": {}}', '{"someone else": [1, {}]}'])
def test_reply_is_no_longer_than_the_request(fresh, text):
    body = vu.version_body(text=text)
    reply = fresh.call(vu.VERSION, body)
    assert 4 <= len(reply.body) <= len(body)
    fresh.check_in_step()


def test_data_of_one_nul(fresh):
    """A client that sends the terminating NUL alone: empty text, which is no JSON."""
    expect_refused(fresh, vu.version_body(text=""))


def test_unknown_capabilities_are_ignored(fresh):
    text = '{"capabilities":{"from the future":{"a":[1,2,3]},"max_msg_fds":8}}'
    capabilities = fresh.negotiate(text=text)[2]
    assert set(capabilities) <= {"max_msg_fds"}
    assert 1 <= capabilities.get("max_msg_fds", 1) <= 8


@pytest.mark.parametrize("minor", [0, 1, 2, 65535])
def test_minor_is_at_most_the_proposed(fresh, minor):
    assert fresh.negotiate(minor=minor)[1] <= minor
    fresh.check_in_step()


@pytest.mark.parametrize("major", [1, 2, 65535])
def test_another_major_is_refused(fresh, major):
    expect_refused(fresh, vu.version_body(major=major))


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\0", b"\0\0\0"])
def test_short_body(fresh, body):
    expect_refused(fresh, body)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "1",
        "null",
        '"text"',
        "{}{}",
        "{} trailing",
        '{"capabilities":[]}',
        '{"capabilities":1}',
        '{"capabilities":{"max_msg_fds":"16"}}',
        '{"capabilities":{"max_msg_fds":-1}}',
        '{"capabilities":{"max_msg_fds":1.5}}',
        '{"capabilities":{"max_data_xfer_size":0}}',
        '{"capabilities":{"max_data_xfer_size":true}}',
        '{"capabilities":{"max_dma_maps":99999999999999999999999}}',
        '{"capabilities":{"pgsizes":[4096]}}',
        '{"capabilities":{"write_multiple":1}}',
        "[" * 5000,
        '{"a":' * 3000,
    ],
    ids=lambda text: text[:48],
)
def test_malformed_data(fresh, text):
    expect_refused(fresh, vu.version_body(text=text))


def test_data_without_its_nul(fresh):
    expect_refused(fresh, struct.pack("=HH", 0, 0) + b"{}")


def test_data_that_is_no_utf8(fresh):
    expect_refused(fresh, struct.pack("=HH", 0, 0) + b'{"\xff\xfe":1}\0')


def test_page_size_that_nobody_has(fresh):
    """A client that cannot map 4 KiB pages."""
    expect_refused(fresh, vu.version_body(text='{"capabilities":{"pgsizes":8192}}'))


def test_second_version(client):
    client.fails(errno.EINVAL, vu.VERSION, vu.version_body())


@pytest.mark.parametrize("command", [*range(2, 19), 0, 0x8000, 0xFFFF])
def test_first_message_must_be_version(fresh, command):
    fresh.send(vu.message(command, bytes(32)))
    fresh.expect_closed()


def test_first_message_that_is_a_reply(fresh):
    fresh.send(vu.message(vu.VERSION, vu.version_body(), flags=vu.REPLY))
    fresh.expect_closed()


def test_first_message_without_a_reply(fresh):
    """A client that does not want to know what was agreed on cannot be talked to."""
    fresh.send(vu.message(vu.VERSION, vu.version_body(), flags=vu.NO_REPLY))
    fresh.expect_closed()


def test_huge_version_data(fresh):
    """More than anybody has to say: refused or cut off, not kept."""
    body = vu.version_body(text='{"a":"' + "x" * 500000 + '"}')
    try:
        fresh.send(vu.message(vu.VERSION, body))
        assert fresh.recv().errno == errno.EINVAL
    except vu.Disconnected:
        return
    fresh.expect_closed()


def test_many_versions_on_many_connections(server):
    for i in range(100):
        with server.negotiated() as client:
            assert client.get_info()[1] >= 8, f"connection {i}"
