"""The guide has one order: the README's list, the navigation of the site, what each page calls the next."""

from __future__ import annotations

import re

from ._pages import ROOT

GUIDE = ROOT / "docs" / "guide"


def listed() -> list[str]:
    """Return the pages of the guide as the README lists them."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(r"^\d+\. \[[^]]+\]\(docs/guide/([\w-]+\.md)\)", text, re.MULTILINE)


def test_readme_lists_every_page_once() -> None:
    assert sorted(listed()) == sorted(path.name for path in GUIDE.glob("*.md"))


def test_site_has_the_same_order() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert re.findall(r"^ +- guide/(\S+)$", text, re.MULTILINE) == listed()


def test_each_page_leads_to_the_next() -> None:
    order = listed()
    for name, following in zip(order, order[1:], strict=False):
        text = (GUIDE / name).read_text(encoding="utf-8")
        found = re.search(r"^Next: \[[^]]+\]\(([\w-]+\.md)\)\.\n\Z", text, re.MULTILINE)
        assert found is not None, name
        assert found[1] == following, name
