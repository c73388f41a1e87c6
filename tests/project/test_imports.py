"""`import asgineer` loads nothing but the standard library and configures nothing.

How many milliseconds it takes is a benchmark, `bench/import_cost.py`: a test of it would fail
on a busy machine.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


def run_fresh(program: str) -> str:
    """Return what `program` prints in an interpreter of its own, where coverage doesn't measure.

    -S keeps site-packages' own start-up files out, so what is loaded is what we loaded.
    """
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stderr == ""
    return result.stdout


LOADED = """
import json, sys
before = set(sys.modules)
{imports}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize("imports", ["import asgineer", "import asgineer.utils, asgineer.errors"])
def test_import_loads_only_the_standard_library(imports: str) -> None:
    loaded = {name.partition(".")[0] for name in json.loads(run_fresh(LOADED.format(imports=imports)))}
    assert loaded - set(sys.stdlib_module_names) == {"asgineer"}


@pytest.mark.parametrize(
    "module",
    [
        "msgspec",
        "asgineer.testutils",
        "asgineer.testing",
        "http.server",
        "gzip",
        "asgineer._files",
        "asgineer._assets",
    ],
)
def test_import_leaves_what_few_need(module: str) -> None:
    assert module not in json.loads(run_fresh(LOADED.format(imports="import asgineer")))


def test_import_configures_no_logging() -> None:
    program = """
import logging
import asgineer

@asgineer.to_asgi
async def main(request):
    return "Hello"

for logger in logging.getLogger(), logging.getLogger("asgineer"):
    print(logger.handlers, logging.getLevelName(logger.level), logger.propagate, logger.disabled)
"""
    assert run_fresh(program).splitlines() == ["[] WARNING True False", "[] NOTSET True False"]


def test_utils_and_version_need_no_further_import() -> None:
    program = "import asgineer; print(callable(asgineer.utils.make_asset_handler), asgineer.__version__ > '')"
    assert run_fresh(program) == "True True\n"
