"""An app and its name: how each is found by the other, and what is said when it is not."""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest

import asgineer
from asgineer import _load

if TYPE_CHECKING:
    from pathlib import Path


@asgineer.to_asgi
async def main(request: asgineer.HttpRequest) -> str:
    return "hello"


async def plain(scope: Any, receive: Any, send: Any) -> None:
    pass


class Plain:
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        pass


instance = Plain()


# The name of an app


def test_import_string_is_the_global_whose_value_is_the_app() -> None:
    assert _load.import_string(main) == f"{__name__}:main"
    assert _load.import_string(plain) == f"{__name__}:plain"
    assert _load.import_string(instance) == f"{__name__}:instance"
    assert _load.import_string("some.module:app") == "some.module:app"


def test_import_string_knows_the_script_that_is_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        pass

    script = types.ModuleType("__main__")
    script.app = app  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "__main__", script)
    app.__module__ = "__main__"
    file = tmp_path / "example.py"
    file.touch()
    script.__file__ = str(file)
    assert _load.import_string(app) == "__main__:app"
    script.__file__ = "<stdin>"
    with pytest.raises(ValueError, match='cannot be found by another process.*"module:name"'):
        _load.import_string(app)
    for name, result in (
        ("mysite.web", "__main__"),
        ("mysite.__main__", "mysite.__main__"),
        ("__main__", None),
    ):
        script.__spec__ = importlib.machinery.ModuleSpec(name, None)
        assert _load.importable_name(script) == result


# Importing


def test_an_app_that_imports_what_is_missing_tells_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needy.py").write_text("import something_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="something_that_is_missing") as caught:
        asgineer.run("needy:main", bind="127.0.0.1:0")
    assert not isinstance(caught.value, _load.StartError)
    first = _load.without_our_frames(caught.value.__traceback__)
    assert first is not None
    assert first.tb_next is not None
    assert _load.without_our_frames(None) is None


def test_a_wrong_name_suggests_the_apps_of_the_module() -> None:
    with pytest.raises(ImportError, match=r"There is no 'mein' in .*; did you mean main\?"):
        _load.load_app(f"{__name__}:mein")


def test_a_program_that_runs_itself_when_it_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unguarded.py").write_text("import asgineer\nasgineer.run('other:app')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="run.. was called while the program is imported"):
        asgineer.run("unguarded:main", bind="127.0.0.1:0")
    assert not _load._importing
