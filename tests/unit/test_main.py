"""The command line: what it makes of its arguments, and what it says about wrong ones."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

import asgineer
from asgineer import _run
from asgineer.__main__ import main, module_path

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, with `sys.path` put back at the end and nothing set in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    for name in ("PORT", "WEB_CONCURRENCY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Note what run() is called with, instead of calling it."""
    noted: list[dict[str, Any]] = []

    def note(app: Any, server: Any, bind: Any, **options: Any) -> None:
        noted.append({"app": app, "server": server, "bind": bind, **options})

    monkeypatch.setattr(_run, "run", note)
    return noted


DEFAULTS = {
    "app": "example:main",
    "server": None,
    "bind": "localhost:8080",
    "workers": 1,
    "reload": False,
    "debug": None,
    "access_log": False,
}


@pytest.mark.parametrize(
    ("arguments", "environment", "different"),
    [
        ([], {}, {}),
        (["--server", "daphne", "--bind", ":80"], {}, {"server": "daphne", "bind": ":80"}),
        (
            ["--workers", "3", "--debug", "--access-log"],
            {},
            {"workers": 3, "debug": True, "access_log": True},
        ),
        ([], {"PORT": "5000", "WEB_CONCURRENCY": "2"}, {"bind": ":5000", "workers": 2}),
        (
            ["--bind", "[::1]:1", "--workers", "1"],
            {"PORT": "5000", "WEB_CONCURRENCY": "2"},
            {"bind": "[::1]:1"},
        ),
        (["--reload"], {"WEB_CONCURRENCY": "2"}, {"reload": True}),
        ([], {"PORT": "", "WEB_CONCURRENCY": ""}, {}),
    ],
)
def test_options(
    arguments: list[str],
    environment: dict[str, str],
    different: dict[str, Any],
    calls: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["run", "example:main", *arguments]) == 0
    assert calls == [{**DEFAULTS, **different}]


def test_the_current_folder_is_where_modules_are_looked_for(calls: list[Any], in_a_folder: Path) -> None:
    main(["run", "example:main"])
    assert sys.path[0] == str(in_a_folder)


def test_a_file_becomes_a_module(in_a_folder: Path) -> None:
    (in_a_folder / "web-site.py").touch()
    (in_a_folder / "example.py").touch()
    (in_a_folder / "sub" / "shop").mkdir(parents=True)
    (in_a_folder / "sub" / "shop" / "__init__.py").touch()
    (in_a_folder / "sub" / "shop" / "web.py").touch()
    assert module_path("example.py:main") == "example:main"
    assert sys.path[0] == str(in_a_folder)
    assert module_path("sub/shop/web.py:main.app") == "shop.web:main.app"
    assert sys.path[0] == str(in_a_folder / "sub")
    assert module_path("shop.web:main") == "shop.web:main"


@pytest.mark.parametrize(
    ("app", "text"),
    [
        ("example.py", "Give the name of the app too: example.py:main"),
        ("example", "Give the name of the app too: example:main"),
        ("example.py:", "Give the name of the app too: example.py:main"),
        ("nowhere.py:main", "There is no file nowhere.py"),
        ("sub/nowhere:main", "There is no file sub/nowhere"),
        ("v1.2.py:main", "v1.2.py cannot be imported as 'v1.2': give it another name"),
        ("json.py:main", "json.py cannot be imported as 'json': give it another name"),
        ("nowhere:main", "There is no module 'nowhere'"),
        ("example:main", "There is no 'main' in 'example'; did you mean app?"),
        ("example.py:main", "There is no 'main' in 'example'; did you mean app?"),
    ],
)
def test_a_mistake_is_one_line(
    app: str,
    text: str,
    in_a_folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "example", raising=False)
    source = "import asgineer\n@asgineer.to_asgi\nasync def app(request): return ''\n"
    for name in ("example.py", "v1.2.py", "json.py"):
        (in_a_folder / name).write_text(source)
    assert main(["run", app, "--bind", "127.0.0.1:0"]) == 2
    assert text in capsys.readouterr().err
    monkeypatch.delitem(sys.modules, "example", raising=False)


@pytest.mark.parametrize("text", ["many", "-1", "1.5"])
def test_a_wrong_setting_of_the_platform(
    text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", text)
    assert main(["run", "example:main"]) == 2
    assert (
        capsys.readouterr().err == f"asgineer: WEB_CONCURRENCY must be a whole number above 0, not {text!r}\n"
    )


def test_a_mistake_in_the_program_is_shown_from_its_own_file_on(
    in_a_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (in_a_folder / "mistaken.py").write_text("def main(:\n")
    assert main(["run", "mistaken.py:main", "--bind", "127.0.0.1:0"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f'  File "{in_a_folder}/mistaken.py", line 1\n')
    assert "SyntaxError" in error


def test_ctrl_c_while_the_app_is_imported(in_a_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (in_a_folder / "slow.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    assert main(["run", "slow.py:main", "--bind", "127.0.0.1:0"]) == 130
    assert capsys.readouterr().err == ""


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "serve an app" in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"asgineer {asgineer.__version__}\n"
