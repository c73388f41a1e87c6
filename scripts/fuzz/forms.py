"""Fuzz the parsers of forms: `python scripts/fuzz/forms.py FOLDER [-runs=N] [-max_total_time=S]`.

FOLDER is where the fuzzer keeps its corpus; the bodies of `tests/unit/form_corpus.py` are put
there first. What must hold: a body is read or refused with a 4xx, and in pieces it is read the
same or refused. What is found gets a name in that file, and then every test run tries it. Needs
`pip install atheris`.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["multipart", "asgineer"]):
    import multipart  # noqa: F401 (instrumented here, before ours imports it)

    from asgineer import BadRequest
    from asgineer._forms import _parse
    from asgineer._multipart import BAD_HEAD, clean_filename, parse_parameters
    from tests.unit.form_corpus import BAD, GOOD, URLENCODED, outcome, pieces


def check(data: bytes) -> None:
    """The first byte says how large the pieces are, the second what is read."""
    size, kind, body = data[0] % 40 + 1, data[1] % 3, data[2:]
    if kind == 0:
        whole = outcome([body])
        found = outcome(pieces(body, size))
        assert found in (whole, None), (found, whole)
    elif kind == 1:
        _parse(body)
    else:
        text = body.decode("utf-8", "replace")
        assert clean_filename(clean_filename(text)) == clean_filename(text)
        with contextlib.suppress(BadRequest):
            parse_parameters(text, BAD_HEAD)


def test_one_input(data: bytes) -> None:
    if len(data) >= 2:
        check(data)


def write_corpus(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    bodies = [(b"\x06\x00", body) for body in [*GOOD.values(), *BAD.values()]]
    bodies += [(b"\x06\x01", body) for body in URLENCODED.values()]
    bodies += [(b"\x06\x02", b'form-data; name="a"; filename="C:\\x\\y.png"')]
    for number, (prefix, body) in enumerate(bodies):
        (folder / f"known-{number}").write_bytes(prefix + body)


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    write_corpus(Path(sys.argv[1]))
    atheris.Setup(sys.argv, test_one_input)
    atheris.Fuzz()
