# SPDX-License-Identifier: BSD-3-Clause
"""Pictures: what a client of the vgpu draws comes out of `umdev screenshot`, pixel for pixel."""

import fcntl
import mmap
import os
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import vfiouser as vu
from test_control import UMDEV, ControlServer

sys.path.append(str(Path(__file__).resolve().parents[1] / "guest"))
import png  # noqa: E402

XRES, YRES, BPP, ENABLE, VIRT_WIDTH, X_OFFSET, Y_OFFSET = 1, 2, 3, 4, 6, 8, 9


@pytest.fixture(scope="module")
def shared():
    server = ControlServer("vgpu", "vgpu-8", "vram=8M")
    yield server
    server.stop()


@pytest.fixture
def server(shared):
    yield shared
    shared.check()


def set_mode(client, width, height, bpp=32, **more):
    values = {ENABLE: 0, BPP: bpp, XRES: width, YRES: height, VIRT_WIDTH: more.get("row", width)}
    values |= {X_OFFSET: more.get("x", 0), Y_OFFSET: more.get("y", 0)}
    for index, value in [*values.items(), (ENABLE, 0x41)]:
        client.write(vu.BAR2, 0x500 + 2 * index, struct.pack("<H", value))


def draw(client, data, offset=0):
    for at in range(0, len(data), 1 << 20):
        client.write(vu.BAR0, offset + at, data[at : at + (1 << 20)])


def rgb(data):
    """XRGB8888 to R, G, B."""
    return bytes(data[i + part] for i in range(0, len(data), 4) for part in (2, 1, 0))


def test_png(server, tmp_path):
    path = str(tmp_path / "screen.png")
    rng = random.Random(5)
    with server.negotiated() as client:
        for width, height in ((1, 1), (3, 2), (320, 200), (640, 480)):
            data = rng.randbytes(width * height * 4)
            draw(client, data)
            set_mode(client, width, height)
            done = server.command("screenshot", path)
            assert done.returncode == 0 and not done.stdout, done.stderr
            assert png.read(path) == (width, height, rgb(data))


def test_a_window_of_a_larger_screen(server, tmp_path):
    path = str(tmp_path / "screen.png")
    row, width, height, x, y = 300, 100, 50, 120, 30
    data = random.Random(6).randbytes(row * 100 * 4)
    with server.negotiated() as client:
        draw(client, data)
        set_mode(client, width, height, row=row, x=x, y=y)
        assert server.command("screenshot", path).returncode == 0
    lines = [rgb(data[((y + n) * row + x) * 4 :][: width * 4]) for n in range(height)]
    assert png.read(path) == (width, height, b"".join(lines))


def test_picture_of_the_socket(server):
    """A memfd that nobody can change, with the answer."""
    with server.negotiated() as client, server.control() as control:
        data = random.Random(7).randbytes(64 * 32 * 4)
        draw(client, data)
        set_mode(client, 64, 32)
        result = control.ask("screenshot")["result"]
        assert (result["width"], result["height"], result["format"]) == (64, 32, "XRGB8888")
        (fd,) = control.fds
        assert os.fstat(fd).st_size == len(data)
        assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) == 0xF
        with mmap.mmap(fd, len(data), prot=mmap.PROT_READ) as pixels:
            assert rgb(pixels[:]) == rgb(data) and not any(pixels[3::4])
        # By name, and after something that failed.
        assert control.ask("screenshot", "nobody")["error"]["errno"] == "ENODEV"
        assert control.ask("screenshot", result["uuid"])["result"] == result
        assert len(control.fds) == 2


def test_many_pictures_at_once(server):
    """Each answer brings its own fd, in the order of the requests."""
    with server.negotiated() as client, server.control() as control:
        set_mode(client, 64, 32)
        control.send(b'{"command": "screenshot"}\n{"command": "show"}\n' * 20)
        for n in range(20):
            assert control.answer()["result"]["width"] == 64
            assert "devices" in control.answer()["result"]
        assert len(control.fds) == 20


def test_hang_up_with_pictures_under_way(server):
    with server.negotiated() as client:
        set_mode(client, 640, 480)
        for _ in range(10):
            with server.control() as control:
                control.send(b'{"command": "screenshot"}\n' * 20)
        server.check_output()


def test_off(server, tmp_path):
    path = tmp_path / "screen.png"
    with server.negotiated() as client, server.control() as control:
        assert control.ask("screenshot")["error"]["errno"] == "ENODATA"
        set_mode(client, 0xFFFF, 0xFFFF)
        assert control.ask("screenshot")["error"]["errno"] == "ENODATA"
        set_mode(client, 64, 64, y=0xFFFF, row=0xFFFF)
        assert control.ask("screenshot")["error"]["errno"] == "ENODATA"
        done = server.command("screenshot", str(path))
    assert done.returncode == 1 and "is off" in done.stderr
    assert not path.exists()


def test_command_lines_that_make_no_sense(server):
    assert server.command("screenshot").returncode == 2
    assert server.command("screenshot", "a", "b", "c").returncode == 2
    assert server.command("screenshot", "--colour", "a").returncode == 2
    done = server.command("screenshot", "x.png", "--dir", "x")
    assert done.returncode == 2 and "--control" in done.stderr and "--dir" in done.stderr


def test_files_that_cannot_be_written(server, tmp_path):
    with server.negotiated() as client:
        set_mode(client, 640, 480)
        for path in (tmp_path, tmp_path / "no/such/folder.png"):
            done = server.command("screenshot", str(path))
            assert done.returncode == 1 and str(path) in done.stderr
        done = server.command("screenshot", "/dev/full")
        assert done.returncode == 1 and "/dev/full" in done.stderr
        assert os.path.exists("/dev/full")
