# SPDX-License-Identifier: BSD-3-Clause
"""Clients of the daemon's control socket that send what makes no sense, or hang up."""

import json
import os
import random

import pytest
from daemon import uuid_of

# A request, the errno, and words of the message.
WRONG = (
    ({"command": "create"}, "EINVAL", "type"),
    ({"command": "create", "type": 5}, "EINVAL", "a request is"),
    ({"command": "create", "type": None}, "EINVAL", "a request is"),
    ({"command": "create", "type": ""}, "ENOENT", "known: testdev-1"),
    ({"command": "create", "type": "x" * 3000}, "ENOENT", "known: testdev-1"),
    ({"command": "create", "type": "%n%s\n\x7f"}, "ENOENT", "known"),
    ({"command": "create", "type": "ä" * 1000}, "ENOENT", "known"),
    ({"command": "create", "type": "../../etc"}, "ENOENT", "known"),
    ({"command": "create", "type": "testdev-1", "parent": "../x"}, "ENOENT", "no parent '../x'"),
    ({"command": "create", "type": "testdev-1", "parent": "x" * 3000}, "ENOENT", "known: testdev0"),
    ({"command": "create", "type": "testdev-1", "uuid": "../../../etc/passwd"}, "EINVAL", "not a UUID"),
    ({"command": "create", "type": "testdev-1", "uuid": ""}, "EINVAL", "not a UUID"),
    ({"command": "create", "type": "testdev-1", "uuid": "x" * 36}, "EINVAL", "not a UUID"),
    ({"command": "create", "type": "testdev-1", "uuid": "x" * 3000}, "EINVAL", "not a UUID"),
    ({"command": "create", "type": "testdev-1", "uuid": uuid_of(1) + "\n"}, "EINVAL", "not a UUID"),
    ({"command": "create", "type": "testdev-1", "persist": "yes"}, "EINVAL", "a request is"),
    ({"command": "create", "type": "testdev-1", "persist": 1}, "EINVAL", "a request is"),
    ({"command": "create", "type": "testdev-1", "device": uuid_of(1)}, "EINVAL", "a request is"),
    # A worker's business.
    ({"command": "create", "type": "testdev-1", "socket": "/tmp/umdev-hostile"}, "EINVAL", "in its directory"),
    ({"command": "create", "type": "testdev-1", "mode": 0o777}, "EINVAL", "in its directory"),
    ({"command": "create", "type": "testdev-1", "mode": -1}, "EINVAL", "permissions"),
    ({"command": "create", "type": "testdev-1", "mode": 1 << 40}, "EINVAL", "permissions"),
    ({"command": "remove"}, "EINVAL", "device"),
    ({"command": "remove", "device": ""}, "ENODEV", "no device"),
    ({"command": "remove", "device": ".."}, "ENODEV", "no device"),
    ({"command": "remove", "device": "x" * 3900}, "ENODEV", "no device"),
    ({"command": "remove", "device": [uuid_of(1)]}, "EINVAL", "a request is"),
    ({"command": "remove", "type": "testdev-1"}, "EINVAL", "a request is"),
    ({"command": "types", "device": uuid_of(1)}, "EINVAL", "a request is"),
    ({"command": "list", "device": "x"}, "ENODEV", "no device"),
    ({"command": "daemon"}, "EINVAL", "no command"),
)


@pytest.fixture(params=["testdev", "testdev,isolate=yes"], ids=["here", "isolated"])
def daemon(start, request):
    return start(request.param, state=True)


def test_wrong_requests(daemon):
    with daemon.control() as control:
        for request, errno, words in WRONG:
            found, message = control.error(json.dumps(request, ensure_ascii=False).encode() + b"\n")
            assert (found, words in message) == (errno, True), (request, found, message)
    assert daemon.uuids() == []
    assert sorted(os.listdir(daemon.dir)) == ["control", "lock"] and os.listdir(daemon.state) == []
    assert not os.path.exists("/tmp/umdev-hostile")
    daemon.check()


def test_who_hangs_up_is_served_nevertheless(daemon):
    """A request that is there is done, whether somebody waits for the answer or not."""
    for i in range(10):
        with daemon.control() as control:
            control.send(json.dumps({"command": "create", "type": "testdev-1", "uuid": uuid_of(i)}).encode() + b"\n")
    with daemon.control() as control:
        # Those before may wait for their turn.
        while len(control.ask("list")["result"]["devices"]) < 10:
            daemon.check()
        for i in range(10):
            control.send(json.dumps({"command": "remove", "device": uuid_of(i)}).encode() + b"\n")
        for i in range(10):
            assert "result" in control.answer()
    assert sorted(os.listdir(daemon.dir)) == ["control", "lock"]


def test_noise(daemon):
    """Members of all kinds in all places: an answer to each, and the daemon is as it was."""
    seed = 7
    rng = random.Random(seed)
    values = ["testdev-1", uuid_of(1), "", "x", None, 0, -1, 1.5, True, [], {}, [[]], "\u0000", "testdev0", 1 << 62]
    names = ["command", "device", "type", "uuid", "parent", "persist", "socket", "mode", "x", ""]
    commands = ["create", "remove", "list", "show", "types", "screenshot", "stats", ""]
    with daemon.control() as control:
        for i in range(500):
            request = {rng.choice(names): rng.choice(values) for _ in range(rng.randrange(5))}
            request["command"] = rng.choice(commands)
            request.pop("socket", None)
            answer = control.request(request)
            assert answer and list(answer) in (["result"], ["error"]), (seed, i, request, answer)
        for device in control.ask("list")["result"]["devices"]:
            assert "result" in control.ask("remove", device["uuid"])
    assert sorted(os.listdir(daemon.dir)) == ["control", "lock"]
    daemon.check()
