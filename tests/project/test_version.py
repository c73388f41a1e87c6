"""The version of the package is the newest entry of the changelog, and of the metadata."""

from __future__ import annotations

import re

import asgineer

from ._pages import ROOT


def test_version_is_the_newest_entry_of_the_changelog() -> None:
    changes = (ROOT / "CHANGES.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)(?: \((unreleased|\d{4}-\d\d-\d\d)\))$", changes, re.MULTILINE)
    assert newest is not None, "CHANGES.md has no entry such as '## 1.0.0rc1 (unreleased)'"
    assert newest[1] == asgineer.__version__
