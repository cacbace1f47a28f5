# SPDX-License-Identifier: BSD-3-Clause
"""Links in the pages lead somewhere, headings included; every page is led to; named files exist."""

import re
from pathlib import Path

import pytest
from blocks import BLOCK

TOP = Path(__file__).resolve().parents[2]
README = TOP / "README.md"
PAGES = [README]
for pattern in ("docs/*.md", "examples/*/*.md", "tests/*/*.md"):
    PAGES += sorted(TOP.glob(pattern))
NAMES = [str(page.relative_to(TOP)) for page in PAGES]

LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.*)$", re.M)
NAMED_FILE = re.compile(r"`((?:bench|drivers|examples|include|scripts|src|tests)/[\w./-]+)`")


def prose(page):
    return BLOCK.sub("", page.read_text())


def anchors(page):
    """As GitHub makes them of headings."""
    return {re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-") for title in HEADING.findall(prose(page))}


def links(page):
    """[(file, anchor or "")] of those that are not of the web."""
    found = [link.partition("#") for link in LINK.findall(prose(page)) if "://" not in link]
    return [((page.parent / file).resolve() if file else page, anchor) for file, _, anchor in found]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_lead_somewhere(page):
    for target, anchor in links(page):
        assert target.exists(), f"{page}: no {target}"
        assert not anchor or anchor in anchors(target), f"{page}: {target} has no #{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_named_files_are_there(page):
    for name in NAMED_FILE.findall(prose(page)):
        assert (TOP / name).exists() or list(TOP.glob(f"{name}*")), f"{page}: no {name}"


def test_every_page_is_led_to():
    reached, ahead = set(), [README]
    while ahead:
        page = ahead.pop()
        if page not in reached:
            reached.add(page)
            leads = [target / "README.md" if target.is_dir() else target for target, _ in links(page)]
            ahead += [target for target in leads if target.suffix == ".md" and target.exists()]
    lost = set(PAGES) - reached - set(TOP.glob("tests/*/*.md"))
    assert not lost, f"no link leads to {lost}"
