"""Fuzz what TrustProxy parses:

    python bench/fuzz/forwarded.py -max_total_time=60 bench/fuzz/corpus/forwarded

Needs atheris, which is in no extra of ours. tests/unit/test_security.py holds the corpus to the same.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from asgineer import BadRequest
from asgineer._proxy import parse_forwarded, parse_node


def one_input(data: bytes) -> None:
    """Parse `data` as a Forwarded header and as an address; raise where the outcome isn't promised."""
    value = data.decode("latin-1")
    node = parse_node(value)
    if node is not None and parse_node(node[0]) != (node[0], 0):
        raise RuntimeError(f"{value!r} is {node!r}, which is no address")
    try:
        elements = parse_forwarded(value)
    except BadRequest:
        return
    if sum(map(len, elements)) > value.count("=") or len(elements) > value.count(",") + 1:
        raise RuntimeError(f"{value!r} has more in it than it can: {elements!r}")
    quoted = [
        ";".join([f'{name}="{_escape(text)}"' for name, text in element.items()]) for element in elements
    ]
    if parse_forwarded(",".join(quoted)) != elements:
        raise RuntimeError(f"{elements!r} came back otherwise")


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def main() -> None:
    """Fuzz until told to stop."""
    fuzzer: Any = importlib.import_module("atheris")
    fuzzer.instrument_func(parse_forwarded)
    fuzzer.instrument_func(parse_node)
    fuzzer.Setup(sys.argv, one_input)
    fuzzer.Fuzz()


if __name__ == "__main__":
    main()
