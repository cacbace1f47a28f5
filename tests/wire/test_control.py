# SPDX-License-Identifier: BSD-3-Clause
"""The control socket of `umdev run`: requests whole, in pieces and wrong, and clients that misbehave."""

import json
import os
import shutil
import socket
import stat
import subprocess
import tempfile

import pytest
import vfiouser as vu
from control import Control
from server import BUILD_DIR, Server

UMDEV = BUILD_DIR / "src/cli/umdev"
LINE_MAX = 4096
CLIENTS_MAX = 16
SHOW = b'{"command": "show"}\n'


class ControlServer(Server):
    """`umdev run DRIVER --control PATH`."""

    def __init__(self, *arguments):
        self.control_dir = tempfile.mkdtemp(prefix="umdev-control-")
        self.control_path = f"{self.control_dir}/control"
        super().__init__(*arguments, "--control", self.control_path)

    def kill(self):
        super().kill()
        shutil.rmtree(self.control_dir, ignore_errors=True)

    def control(self):
        return Control(self.control_path)

    def command(self, *words, path=None):
        """Run umdev with these words: the process, completed."""
        return subprocess.run(
            [UMDEV, *words, "--control", path or self.control_path],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=vu.TIMEOUT,
        )


@pytest.fixture(scope="module")
def shared():
    server = ControlServer("testdev")
    yield server
    server.stop()


@pytest.fixture
def server(shared):
    """At rest before and after."""
    yield shared
    shared.check()


def show(server):
    with server.control() as control:
        return control.ask("show")["result"]["devices"]


# ------------------------------------------------------------------ show


def test_show(server):
    (device,) = show(server)
    assert device["type"] == "testdev-1" and device["driver"] == "testdev"
    assert device["socket"] == server.path and device["connected"] is False
    with server.negotiated() as client:
        before = show(server)[0]
        client.read(vu.BAR2, 0, 4)
        client.read(vu.BAR2, 0, 8)
        after = show(server)[0]
    assert before["connected"] is True
    assert after["stats"]["sessions"] == device["stats"]["sessions"] + 1
    assert after["stats"]["traps_read"] == before["stats"]["traps_read"] + 2
    assert after["stats"]["trap_bytes_read"] == before["stats"]["trap_bytes_read"] + 12


def test_show_one(server):
    uuid = show(server)[0]["uuid"]
    with server.control() as control:
        for name in (uuid, uuid.upper()):
            assert control.ask("show", name)["result"]["devices"][0]["uuid"] == uuid
        answer = control.ask("show", "nobody")
        assert answer["error"] == {"errno": "ENODEV", "message": "there is no device nobody"}


def test_no_screen(server):
    with server.control() as control:
        assert control.ask("screenshot")["error"]["errno"] == "EOPNOTSUPP"
        assert not control.fds


# ------------------------------------------------------------------ pieces


def test_bytes_one_by_one(server):
    with server.control() as control:
        for byte in SHOW:
            control.send(bytes([byte]))
        assert "result" in control.answer()


def test_many_at_once(server):
    with server.control() as control:
        control.send(SHOW * 300)
        for _ in range(300):
            assert "result" in control.answer()


def test_a_line_and_a_half(server):
    with server.control() as control:
        control.send(SHOW + SHOW[:7])
        assert "result" in control.answer()
        control.send(SHOW[7:])
        assert "result" in control.answer()


def test_half_closed(server):
    """Who says that he is done gets the answers to what he asked."""
    with server.control() as control:
        control.send(SHOW * 2 + b'{"comm')
        control.socket.shutdown(socket.SHUT_WR)
        assert "result" in control.answer() and "result" in control.answer()
        assert control.answer() is None


# ------------------------------------------------------------------ wrong requests

WRONG = {
    b"\n": "JSON",
    b"garbage\n": "JSON",
    b"\0\0\0\0\n": "JSON",
    b"\xff\xfe{}\n": "JSON",
    b'{"command": "\xff"}\n': "JSON",
    b'{"command": "show"\n': "JSON",
    b'{"command": "show"} x\n': "JSON",
    b'{"command": "a", "command": "b"}\n': "JSON",
    b'{"command": "sh\\u0000ow"}\n': "JSON",
    b"[" * 4000 + b"\n": "JSON",
    b"[]\n": "a request is",
    b'"show"\n': "JSON",
    b"{}\n": "command",
    b'{"command": 5}\n': "a request is",
    b'{"command": null}\n': "a request is",
    b'{"command": ["show"]}\n': "a request is",
    b'{"command": "show", "device": 5}\n': "a request is",
    b'{"command": "show", "more": 1}\n': "a request is",
    b'{"command": "explode"}\n': "no command 'explode'; there are attribute attributes create list remove screenshot show types",
    b'{"command": "%s%n"}\n': "no command '%s%n'",
    b'{"command": "' + "ä".encode() * 1000 + b'"}\n': "no command",
    b'{"command": "x' + "ä".encode() * 1000 + b'"}\n': "no command",
}


def test_wrong_requests(server):
    """Each is told what was wrong, and the connection goes on."""
    with server.control() as control:
        for request, words in WRONG.items():
            errno, message = control.error(request)
            assert errno == "EINVAL" and words in message, (request[:100], errno, message)
            assert "result" in control.ask("show")


def test_wrong_device_names(server):
    with server.control() as control:
        for name in ("", "x" * 3000, "ä" * 1500, "x" + "ä" * 1400, "%n%s", "../../etc", "\n\t\x7f"):
            request = json.dumps({"command": "show", "device": name}, ensure_ascii=False)
            assert control.error(request.encode() + b"\n")[0] == "ENODEV"


def test_longest_line(server):
    with server.control() as control:
        control.send(SHOW[:-1].ljust(LINE_MAX - 1) + b"\n")
        assert "result" in control.answer()


@pytest.mark.parametrize("size", [LINE_MAX, LINE_MAX + 1, 100000])
def test_too_long_a_line(server, size):
    """It is refused as soon as it is too long, and the connection is over."""
    with server.control() as control:
        try:
            control.send(b" " * size)
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = control.answer()
        assert answer["error"]["errno"] == "EMSGSIZE" and str(LINE_MAX) in answer["error"]["message"]
        assert control.answer() is None


def test_fds_that_come_along(server):
    """Nobody asked for them: nothing of them is left."""
    with server.control() as control, vu.memory_file() as memory:
        for _ in range(20):
            socket.send_fds(control.socket, [SHOW], [memory] * 10)
            assert "result" in control.answer()
        server.check_output()
    server.check()


# ------------------------------------------------------------------ clients that misbehave


def test_hang_up_anywhere(server):
    for size in range(len(SHOW) + 1):
        with server.control() as control:
            control.send(SHOW[:size])
    assert show(server)


def test_hang_up_before_the_answers(server):
    for _ in range(50):
        with server.control() as control:
            control.send(SHOW * 100)
    assert show(server)


def test_one_who_never_reads(server):
    """He stops being served when his socket is full; others do not notice."""
    with server.control() as deaf:
        deaf.socket.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                deaf.socket.send(SHOW * 200)
        for _ in range(20):
            assert show(server)


def test_more_than_are_served(server):
    """The rest waits in line."""
    crowd = [server.control() for _ in range(CLIENTS_MAX)]
    for control in crowd:
        assert "result" in control.ask("show")
    with server.control() as late:
        late.send(SHOW)
        crowd.pop().close()
        assert "result" in late.answer()
    for control in crowd:
        assert "result" in control.ask("show")
        control.close()


# ------------------------------------------------------------------ the command line


def test_show_command(server):
    uuid = show(server)[0]["uuid"]
    text = server.command("show")
    assert text.returncode == 0 and text.stdout.startswith(uuid) and "testdev-1" in text.stdout
    devices = json.loads(server.command("show", "--json").stdout)
    assert devices[0]["uuid"] == uuid and devices[0]["stats"]["dma_maps"] == 0
    assert json.loads(server.command("show", uuid, "--json").stdout)[0]["uuid"] == uuid
    wrong = server.command("show", "nobody")
    assert wrong.returncode == 1 and wrong.stderr == "umdev: show: there is no device nobody\n"


def test_command_lines_that_make_no_sense(server):
    assert server.command("show", "a", "b").returncode == 2
    assert server.command("show", "--colour").returncode == 2
    done = server.command("show", "--dir", "x")
    assert done.returncode == 2 and "--control" in done.stderr and "--dir" in done.stderr


def test_commands_without_a_server(server, tmp_path):
    plain = tmp_path / "file"
    plain.write_text("")
    for path, words in (
        (str(tmp_path / "nothing"), "there is no socket"),
        (str(plain), "nobody listens"),
        ("x" * 200, "200 characters"),
        (server.path, "no control socket of umdev"),
    ):
        done = server.command("show", path=path)
        assert done.returncode == 1 and words in done.stderr, done.stderr


# ------------------------------------------------------------------ the socket


def test_permissions_and_end():
    server = ControlServer("testdev", "--mode", "640")
    try:
        path = server.control_path
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
        with server.control() as control:
            control.send(b'{"comm')  # a connection that is open does not keep it from ending
            server.process.terminate()
            assert server.process.wait(vu.TIMEOUT) == 0
            assert control.answer() is None
        assert os.listdir(server.control_dir) == []
    finally:
        server.kill()


def test_path_in_use(server):
    """A live socket is not taken over, and nothing is left of the attempt."""
    done = subprocess.run(
        [UMDEV, "run", "testdev", "--socket", f"{server.dir}/other", "--control", server.control_path],
        env=dict(os.environ, UMDEV_DRIVER_PATH=str(BUILD_DIR / "tests/drivers")),
        capture_output=True, text=True, timeout=vu.TIMEOUT,
    )
    assert done.returncode == 1 and "in use" in done.stderr
    assert not os.path.exists(f"{server.dir}/other")
    assert show(server)


def run_captive(command, *words, **environment):
    return subprocess.run(
        [UMDEV, "run", "testdev", *words, "--run", command],
        env=dict(os.environ, UMDEV_DRIVER_PATH=str(BUILD_DIR / "tests/drivers"), UMDEV=str(UMDEV), **environment),
        capture_output=True, text=True, timeout=vu.TIMEOUT,
    )


def test_captive(tmp_path):
    """The command of --run finds the control socket in its environment."""
    done = run_captive('"$UMDEV" show --json')
    assert done.returncode == 0 and json.loads(done.stdout)[0]["type"] == "testdev-1", done.stderr
    path = str(tmp_path / "here")
    assert run_captive('echo "$UMDEV_CONTROL"', "--control", path).stdout == path + "\n"
    assert os.listdir(tmp_path) == []
    # A socket whose path leaves no room for another beside it.
    path = str(tmp_path / "s").ljust(107, "s")
    done = run_captive('echo "<$UMDEV_CONTROL>"', "--socket", path, UMDEV_CONTROL="another's")
    assert done.returncode == 0 and done.stdout == "<>\n"
