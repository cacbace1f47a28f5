# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: a tree of its own for each test, which must end in order."""

import pytest
import tree as tree_module


@pytest.hookimpl(hookwrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if outcome.get_result().failed:
        item.test_failed = True


@pytest.fixture
def make_tree(request):
    """make_tree("NAME DRIVER [key=value…]", …): a tree with these parents."""
    trees = []

    def make(*parents, **options):
        try:
            trees.append(tree_module.Tree(*parents, **options))
        except tree_module.CannotMount as e:
            pytest.skip(str(e))
        return trees[-1]

    yield make
    for tree in trees:
        if getattr(request.node, "test_failed", False):
            print(tree.said())
            tree.kill()
        else:
            tree.close()


@pytest.fixture
def hold(tmp_path):
    return tree_module.Hold(tmp_path / "hold")


@pytest.fixture
def tree(make_tree):
    """With two parents, t0 and t1."""
    return make_tree("t0 treedev", "t1 treedev")
