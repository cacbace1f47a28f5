# SPDX-License-Identifier: BSD-3-Clause
"""
`make install`: what lands where, that it works there and nowhere else, that nothing is left of it;
and a driver that is built outside of umdev's tree, installed, and loaded by its name.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]

# A user's environment, without what could lead to a build folder or another umdev.
ENVIRONMENT = {name: value for name, value in os.environ.items()
               if not name.startswith(("UMDEV_", "MESON_", "PKG_CONFIG", "LD_LIBRARY", "DESTDIR", "MAKE"))}
ENVIRONMENT["LC_ALL"] = "C.UTF-8"


def run(*command, env=None, cwd=None, timeout=300):
    done = subprocess.run(
        [str(word) for word in command], env=ENVIRONMENT | (env or {}), cwd=cwd, timeout=timeout,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    assert done.returncode == 0, f"$ {' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def make(goal, build, **variables):
    """The first one builds all of it, which a machine that does other things too takes its time for."""
    run("make", "-C", TOP, goal, f"BUILD={build}", *[f"{name}={value}" for name, value in variables.items()], timeout=900)


def files_below(folder):
    """What is there and is no folder."""
    return {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """A build folder that no other test installs from."""
    folder = tmp_path_factory.mktemp("build") / "build"
    prefix = tmp_path_factory.mktemp("elsewhere") / "prefix"
    run("meson", "setup", folder, TOP, f"--prefix={prefix}", "-Dtests=disabled", "-Doptimization=1")
    return folder


@pytest.fixture
def prefix(build, tmp_path):
    """Where umdev is installed now, for good."""
    folder = tmp_path / "prefix"
    make("install", build, PREFIX=folder)
    return folder


def environment_of(prefix):
    """As an operator would set it for a prefix of his own."""
    pc = next(prefix.rglob("umdev.pc"))
    return {
        "PATH": f"{prefix}/bin:{ENVIRONMENT['PATH']}",
        "PKG_CONFIG_PATH": str(pc.parent),
        "LD_LIBRARY_PATH": str(pc.parent.parent),
    }


def expected_files(build):
    """Of the files that meson means to install, their places."""
    plan = json.loads((build / "meson-info/intro-installed.json").read_text())
    return {Path(place) for place in plan.values()}


def test_everything_lands(build, prefix):
    found = files_below(prefix)
    assert found >= expected_files(build)
    names = {str(path.relative_to(prefix)) for path in found}
    headers = {f"include/umdev/{path.name}" for path in (TOP / "include/umdev").glob("*.h")}
    assert names >= headers | {"include/umdev/vgpu_regs.h", "bin/umdev", "libexec/umdev/umdev-bench"}
    for page in (TOP / "docs/man").glob("*.scd"):
        assert f"share/man/man{page.stem[-1]}/{page.stem}" in names
    modules = {path for path in found if path.parent.name == "umdev" and path.suffix == ".so"}
    drivers = {path.name for path in modules if "libexec" not in path.parts}
    assert drivers == {f"umdev-{path.name}.so" for path in (TOP / "drivers").iterdir() if path.is_dir()}


def test_headers_stand_alone(prefix, tmp_path):
    for header in (prefix / "include/umdev").glob("*.h"):
        (tmp_path / "one.c").write_text(f"#include <umdev/{header.name}>\n")
        run("cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{prefix}/include", tmp_path / "one.c")


def test_works_in_any_prefix(prefix):
    """Without a word about where its library and its drivers are."""
    env = {"PATH": f"{prefix}/bin:{ENVIRONMENT['PATH']}"}
    for driver in ("vgpu", "tty"):
        assert "BAR0" in run("umdev", "run", driver, "--run", "umdev probe $UMDEV_SOCKET", env=env)
    run("umdev", "demo", "--help", env=env)
    run("umdev", "bench", "--help", env=env)


def test_destdir_and_nothing_outside(build, tmp_path):
    root, prefix = tmp_path / "root", tmp_path / "prefix"
    make("install", build, PREFIX=prefix, DESTDIR=root)
    assert not prefix.exists()
    inside = root / prefix.relative_to("/")
    assert {root / path.relative_to("/") for path in expected_files(build)} <= files_below(root)
    assert all(inside in path.parents for path in files_below(root))
    # The programs find the library there; what is built in is where they will be, not where they are.
    env = {
        "PATH": f"{inside}/bin:{ENVIRONMENT['PATH']}",
        "UMDEV_DRIVER_PATH": str(next(inside.rglob("umdev-tty.so")).parent),
    }
    assert "BAR0" in run("umdev", "run", "tty", "--run", "umdev probe $UMDEV_SOCKET", env=env)


def test_uninstall_leaves_nothing(build, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    make("install", build, DESTDIR=root)
    assert files_below(root)
    make("uninstall", build)
    assert list(root.iterdir()) == []


def check_by_name(env, client, cwd):
    probed = run("umdev", "run", "copier", "--run", "umdev probe $UMDEV_SOCKET", env=env, cwd=cwd)
    assert "1b36:00c0" in probed and "BAR0: [size=4K] read write" in probed
    copied = run("umdev", "run", "copier", "--run", f"{client} $UMDEV_SOCKET 'hello, card'", env=env, cwd=cwd)
    assert copied == "hello, card\n"


@pytest.fixture
def outside(tmp_path):
    """The example's folder, with nothing of umdev's tree around it."""
    return Path(shutil.copytree(TOP / "examples/copier", tmp_path / "outside"))


def test_driver_outside_by_meson(prefix, outside):
    env = environment_of(prefix)
    run("meson", "setup", "build", env=env, cwd=outside)
    run("meson", "install", "-C", "build", env=env, cwd=outside)
    shutil.move(outside / "build/copy", outside / "copy")
    shutil.rmtree(outside / "build")
    check_by_name(env, "./copy", outside)


def test_driver_outside_by_hand(prefix, outside):
    """By the lines of README.md."""
    env = environment_of(prefix)
    lines = [line[2:] for line in (TOP / "README.md").read_text().splitlines() if line.startswith("$ ")]
    compile_line = next(line for line in lines if line.startswith("cc "))
    install_line = next(line for line in lines if line.startswith("install "))
    for line in (compile_line, install_line):
        run("bash", "-c", line, env=env, cwd=outside)
    run("bash", "-c", "cc -D_GNU_SOURCE $(pkg-config --cflags umdev) -o copy copy.c $(pkg-config --libs umdev)",
        env=env, cwd=outside)
    (outside / "umdev-copier.so").unlink()
    check_by_name(env, "./copy", outside)


def test_driver_outside_into_destdir(prefix, outside, tmp_path):
    """A packager's way: the driver's own DESTDIR, and umdev told where it is."""
    env, root = environment_of(prefix), tmp_path / "root"
    run("meson", "setup", "build", env=env, cwd=outside)
    run("meson", "install", "-C", "build", "--destdir", root, env=env, cwd=outside)
    (driver,) = files_below(root)
    assert driver.name == "umdev-copier.so"
    assert str(driver).startswith(f"{root}{prefix}/")
    env["UMDEV_DRIVER_PATH"] = str(driver.parent)
    check_by_name(env, "build/copy", outside)
