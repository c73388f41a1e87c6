"""What the documentation site adds to the pages in `docs/`, as hooks of MkDocs; see `mkdocs.yml`.

The first page is the README. The reference has a page for each public module, from the docstrings of what
it exports. Pages link to files of the repository, as they do where the repository is browsed: those files
become pages here. Nothing that a page says is written in this file.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.nav import Page

ROOT = Path(__file__).resolve().parent.parent
MODULES = ["asgineer", "asgineer.utils", "asgineer.security", "asgineer.testing", "asgineer.testutils"]
AS_PAGES = {
    "README.md": "index.md",
    "CHANGES.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
}
LANGUAGES = {".py": "python", ".js": "javascript", ".html": "html", "": "sh"}

PICTURES = {".png", ".svg"}
DIFFERENCES = ROOT / "tests" / "contract" / "differences.py"
INTRODUCTION = """\
# Where servers differ

One suite of tests runs on every server. Where one of them can't do what the suite asks for, a table says so,
with the reason; as soon as it can, the run fails until the entry is gone. This page is made from that table.
`inprocess` is the test client; `B22` and its like are rows of
[bad_inputs.py](../tests/contract/bad_inputs.py), which [a page of the guide](guide/bad-input.md) is about.
"""

_LINK = re.compile(r"(\]\()(?!https?:|#)([^)#\s]+)([^)]*\))")


def on_config(config: MkDocsConfig) -> None:
    """Put the pages of the reference under its entry in the navigation."""
    for entry in config.nav or []:
        if "Reference" in entry:
            entry["Reference"] += [{name: f"reference/{name}.md"} for name in MODULES]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add what is not in `docs/`: the README and its kind, the reference, the files that pages link to."""
    for name, place in AS_PAGES.items():
        _add(files, config, place, (ROOT / name).read_text(encoding="utf-8"))
    for name in MODULES:
        _add(files, config, f"reference/{name}.md", reference_page(name))
    _add(files, config, "servers.md", differences_page())
    for path in sorted(linked_files(files)):
        if path.suffix in PICTURES:
            files.append(File.generated(config, _place(path), abs_src_path=str(path)))
        else:
            _add(files, config, _place(path), _as_page(path))


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to files of the repository to the pages that they became."""
    here = _source(page.file)

    def lead(match: re.Match[str]) -> str:
        target = (here.parent / match[2]).resolve()
        if not target.is_relative_to(ROOT):
            return match[0]
        up = "../" * page.file.src_uri.count("/")
        return f"{match[1]}{up}{_place(target)}{match[3]}"

    return _LINK.sub(lead, markdown)


def reference_page(name: str) -> str:
    """Return the page of a public module: what it exports, in its own order."""
    module = importlib.import_module(name)
    names = [entry for entry in module.__all__ if f"{name}.{entry}" not in MODULES and entry[0] != "_"]
    entries = "\n\n".join(f"::: {name}.{entry}" for entry in names)
    return f"# `{name}`\n\n{(module.__doc__ or '').strip()}\n\n{entries}\n"


def differences_page() -> str:
    """Return the table of differences, by server and reason."""
    spec = importlib.util.spec_from_file_location("differences", DIFFERENCES)
    assert spec is not None
    assert spec.loader is not None
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (case, server), reason in table.DIFFERENCES.items():
        found[server][reason].append(_in_words(case))
    lines = [INTRODUCTION]
    for server, reasons in sorted(found.items()):
        lines += [f"\n## {server}\n\n| why | what differs |\n|---|---|"]
        lines += [f"| {reason} | {'; '.join(cases)} |" for reason, cases in sorted(reasons.items())]
    return "\n".join(lines) + "\n"


def _in_words(case: str) -> str:
    """Return the name of a test as a reader wants it: "B22 (bytes)", "a client that leaves is told"."""
    if row := re.fullmatch(r"test_row\[(\w+?)(?:-(.+))?\]", case):
        return f"{row[1]} ({row[2]})" if row[2] else row[1]
    return case.removeprefix("test_").replace("_", " ")


def linked_files(files: Files) -> set[Path]:
    """Return the files outside `docs/` that pages link to, and those that these link to."""
    found: set[Path] = set()
    pages = [
        file for file in files if file.src_uri.endswith(".md") and not file.src_uri.startswith("reference/")
    ]
    todo = [(_source(page), page.content_string) for page in pages]
    while todo:
        path, text = todo.pop()
        targets = {(path.parent / target).resolve() for _, target, _ in _LINK.findall(text)}
        new = {path for path in targets if path.is_relative_to(ROOT) and _place(path).startswith("source/")}
        todo += [(path, path.read_text(encoding="utf-8")) for path in new - found if path.suffix == ".md"]
        found |= new
    return found


def _source(file: File) -> Path:
    """Return the path in the repository of a file of the site, which its links start from."""
    for name, place in AS_PAGES.items():
        if file.src_uri == place:
            return ROOT / name
    if file.src_uri.startswith("source/"):
        path = ROOT / file.src_uri.removeprefix("source/")
        return path if path.exists() else path.with_suffix("")
    return ROOT / "docs" / file.src_uri


def _place(path: Path) -> str:
    """Return where in the site a file of the repository is."""
    inside = path.relative_to(ROOT).as_posix()
    if inside in AS_PAGES:
        return AS_PAGES[inside]
    if inside.startswith("docs/"):
        return inside.removeprefix("docs/")
    return f"source/{inside}" if path.suffix in PICTURES else f"source/{inside.removesuffix('.md')}.md"


def _as_page(path: Path) -> str:
    """Return a file of the repository as a page."""
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    inside = path.relative_to(ROOT)
    if path.is_dir():
        names = sorted(child.name for child in path.iterdir() if child.suffix in (".py", ".md"))
        return f"# `{inside}`\n\n" + "".join(f"- `{name}`\n" for name in names)
    language = LANGUAGES.get(path.suffix, "")
    return f"# `{inside}`\n\n```{language}\n{path.read_text(encoding='utf-8')}\n```\n"


def _add(files: Files, config: MkDocsConfig, place: str, content: str) -> None:
    files.append(File.generated(config, place, content=content))
