"""The mistakes of beginners that a program ends by before it serves: what stands on their screen.

Each row is a real process. Its whole output is compared where it is ours: a beginner reads all
of it, so a frame of the framework or a second message is one too many.
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest

from .program import SERVERS, get

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Start

pytestmark = pytest.mark.server

GOOD = """\
import asgineer

@asgineer.to_asgi
async def main(request):
    return "right"
"""
BARE = """\
async def main(request):
    return "x"
"""
COLON_FORGOTTEN = GOOD.replace("(request):", "(request)")
NAME_MISSPELT = GOOD.replace("import asgineer", "import asgineer\n\nasgineeer.text('x')")
PACKAGE_MISSING = GOOD.replace("import asgineer", "import asgineer, teapot")
RUNS_WHEN_IMPORTED = GOOD + "\nasgineer.run(main, bind='127.0.0.1:0')\n"

COMMAND = ("-m", "asgineer")
RUN = (*COMMAND, "run")
HERE = ("--bind", "127.0.0.1:0")
USAGE = "usage: asgineer [-h] [--version] command ...\n"
ADDRESS = (
    "asgineer: error: the address is one argument: --bind localhost:8080, or --bind :8080 for every address\n"
)

# What example.py is, the command, the exit status, and the whole output (… is anything).
COMMANDS = [
    (
        *("forgotten decorator", BARE, (*RUN, "example.py:main", *HERE), 2),
        "asgineer: main is a handler, not an ASGI app: put @asgineer.to_asgi above it\n",
    ),
    (
        *("syntax error", COLON_FORGOTTEN, (*RUN, "example.py:main", *HERE), 1),
        '  File "…/example.py", line 4\n'
        "    async def main(request)\n"
        "                           ^\n"
        "SyntaxError: expected ':'\n",
    ),
    (
        *("misspelt name", NAME_MISSPELT, (*RUN, "example.py:main", *HERE), 1),
        "Traceback (most recent call last):\n"
        '  File "…/example.py", line 3, in <module>\n'
        "    asgineeer.text('x')\n"
        "    ^^^^^^^^^\n"
        "NameError: name 'asgineeer' is not defined…\n",
    ),
    (
        *("missing package", PACKAGE_MISSING, (*RUN, "example.py:main", *HERE), 1),
        "Traceback (most recent call last):\n"
        '  File "…/example.py", line 1, in <module>\n'
        "    import asgineer, teapot\n"
        "ModuleNotFoundError: No module named 'teapot'\n",
    ),
    (
        *("misspelt app", GOOD, (*RUN, "example.py:mian", *HERE), 2),
        "asgineer: There is no 'mian' in 'example'; did you mean main?\n",
    ),
    (
        *("misspelt module", GOOD, (*RUN, "exmaple:main", *HERE), 2),
        "asgineer: There is no module 'exmaple' (looked in …)\n",
    ),
    (
        *("misspelt file", GOOD, (*RUN, "exmaple.py:main", *HERE), 2),
        "asgineer: There is no file exmaple.py\n",
    ),
    (
        *("no name", GOOD, (*RUN, "example.py", *HERE), 2),
        "asgineer: Give the name of the app too: example.py:main\n",
    ),
    (
        *("no command", GOOD, (*COMMAND, "example.py:main"), 2),
        f"{USAGE}asgineer: error: say what to do with it: asgineer run example.py:main\n",
    ),
    (
        *("no command, no name", GOOD, (*COMMAND, "example.py"), 2),
        f"{USAGE}asgineer: error: say what to do with it: asgineer run example.py:main\n",
    ),
    ("port alone", GOOD, (*RUN, "example.py:main", "--port", "8080"), 2, USAGE + ADDRESS),
    ("host alone", GOOD, (*RUN, "example.py:main", "--host=0.0.0.0"), 2, USAGE + ADDRESS),
    (
        *("bind to a number", GOOD, (*RUN, "example.py:main", "--bind", "8080"), 2),
        "asgineer: Invalid bind '8080': give 'host:port', '[::1]:8080', ':8080' or 'unix:/path'\n",
    ),
    (
        *("unknown server", GOOD, (*RUN, "example.py:main", "--server", "gunicorn"), 2),
        "asgineer: Invalid server specified: 'gunicorn'. Choose one of uvicorn, granian, hypercorn, daphne\n",
    ),
    (
        *("run() when imported", RUNS_WHEN_IMPORTED, (*RUN, "example.py:main", *HERE), 2),
        'asgineer: run() was called while the program is imported: put it under if __name__ == "__main__":\n',
    ),
]


@pytest.mark.parametrize(
    ("source", "command", "status", "output"), [row[1:] for row in COMMANDS], ids=[row[0] for row in COMMANDS]
)
def test_on_the_command_line(
    source: str, command: tuple[str, ...], status: int, output: str, start: Start, tmp_path: Path
) -> None:
    (tmp_path / "example.py").write_text(source)
    program = start(*command)
    assert program.ended() == status, program.out
    assert re.fullmatch(".*".join(map(re.escape, output.split("…"))), program.out, re.DOTALL), program.out


# In a script: Python prints the traceback to run(), the last line is ours.

SCRIPTS = [
    (
        "forgotten decorator",
        BARE,
        "main",
        "main is a handler, not an ASGI app: put @asgineer.to_asgi above it",
    ),
    (
        *("a file for a module", GOOD, "'example.py:main'"),
        "There is no module 'example.py' (give the name of the module, example:main)",
    ),
    (
        *("a name alone", GOOD, "'main'"),
        "If specifying an app by name, give its full path! 'module:name', not 'main'",
    ),
    (
        *("unknown server", GOOD, "main, 'gunicorn'"),
        "Invalid server specified: 'gunicorn'. Choose one of uvicorn, granian, hypercorn, daphne",
    ),
    ("server not installed", GOOD, "main, 'hypercorn'", "hypercorn is not installed. Try: …[hypercorn]…"),
    ("no server installed", GOOD, "main", "No ASGI server is installed. Try: …[uvicorn]…"),
    (
        "a call of the app",
        GOOD,
        "main(None, None, None)",
        "An ASGI app or 'module:name' is needed, not coroutine …",
    ),
]


END = """
import sys, warnings
import asgineer

for name in {hidden}:
    sys.modules[name] = None  # as if it were not installed

if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of a coroutine that nobody awaited
    asgineer.run({arguments})
"""


@pytest.mark.parametrize(
    ("source", "arguments", "text"), [row[1:] for row in SCRIPTS], ids=[row[0] for row in SCRIPTS]
)
def test_in_a_script(
    source: str, arguments: str, text: str, start: Start, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    hidden = {"server not installed": ["hypercorn"], "no server installed": SERVERS}
    end = END.format(hidden=hidden.get(request.node.callspec.id, []), arguments=arguments)
    (tmp_path / "example.py").write_text(source + end)
    program = start("example.py")
    assert program.ended() == 1
    last = program.out.rstrip("\n").rpartition("\n")[2]
    assert re.fullmatch(r"[\w.]+: " + ".*".join(map(re.escape, text.split("…"))), last), program.out


@pytest.mark.parametrize("server", SERVERS)
def test_a_syntax_error_is_short_on_every_server(server: str, start: Start, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(COLON_FORGOTTEN)
    program = start(*RUN, "example.py:main", *HERE, "--server", server)
    assert program.ended() == 1
    assert "SyntaxError: expected ':'\n" in program.out
    assert re.findall(r'File ".*/(.*)"', program.out) == ["example.py"]


def test_a_syntax_error_with_workers_is_short(start: Start, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(COLON_FORGOTTEN)
    program = start(*RUN, "example.py:main", *HERE, "--workers", "2")
    assert program.ended() == 3
    assert set(re.findall(r'File ".*/(.*)"', program.out)) == {"example.py"}
    assert "The app example:main could not be imported" in program.out


def test_a_port_in_use(start: Start, tmp_path: Path) -> None:
    (tmp_path / "example.py").write_text(GOOD)
    with socket.create_server(("127.0.0.1", 0)) as other:
        bind = f"127.0.0.1:{other.getsockname()[1]}"
        program = start(*RUN, "example.py:main", "--bind", bind)
        assert program.ended() == 1
    assert re.fullmatch(
        rf"\[ERROR .+\] Cannot listen on {bind}: Address already in use\. "
        r"Another program has it: end that one, or choose another port\n",
        program.out,
    )


@pytest.mark.parametrize("server", SERVERS)
def test_reload_waits_out_mistakes(server: str, start: Start, tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text(COLON_FORGOTTEN)
    program = start(*RUN, "example.py:main", *HERE, "--server", server, "--reload")
    program.wait_for("Not serving. Waiting for a Python file to change")
    assert re.findall(r'File ".*/(.*)"', program.out) == ["example.py"]
    served = program.out.count("Serving ")  # granian says so before its worker has the app
    file.write_text(GOOD)
    program.wait_for("Serving ", times=served + 1)
    assert get(program.serving()) == (200, "right")
    file.write_text(NAME_MISSPELT)
    program.wait_for("NameError: name 'asgineeer' is not defined")
    program.wait_for("Not serving. Waiting for a Python file to change", times=2)
    served = program.out.count("Serving ")
    file.write_text(GOOD.replace("right", "right again"))
    program.wait_for("Serving ", times=served + 1)
    assert get(program.serving()) == (200, "right again")
    assert program.end() == 0
    assert program.out.count("Not serving") == 2, "the end itself is no failure"


def test_a_forgotten_decorator_under_uvicorns_own_command(start: Start, tmp_path: Path) -> None:
    # We can't change what it prints; the guide tells what it means.
    (tmp_path / "example.py").write_text(BARE)
    program = start("-m", "uvicorn", "example:main", "--port", "0")
    address = program.wait_for(r"Uvicorn running on http://(\S+)")
    assert get(address)[0] == 500
    program.wait_for(r"TypeError: main\(\) takes 1 positional argument but 3 were given")
    program.end()


BLOCKING = """\
import logging, threading
import asgineer

told = threading.Event()

class Watch(logging.Handler):
    def emit(self, record):
        if "Event loop blocked for over" in record.getMessage():
            told.set()

logging.basicConfig(format="%(levelname)s %(message)s", level="INFO")
logging.getLogger("asgineer").addHandler(Watch())

@asgineer.to_asgi
async def main(request):
    told.wait(20)  # line 16 blocks until the watchdog has spoken
    return "went on"

if __name__ == "__main__":
    asgineer.run(main, SERVER, "127.0.0.1:0", debug=True)
"""


@pytest.mark.parametrize("server", ["uvicorn", "hypercorn", "granian"])  # daphne runs no lifespan
def test_the_watchdog_names_the_line(server: str, start: Start, tmp_path: Path) -> None:
    file = tmp_path / "example.py"
    file.write_text(BLOCKING.replace("SERVER", repr(server)))
    program = start("example.py")
    assert get(program.serving()) == (200, "went on")
    program.wait_for(r"WARNING Event loop blocked \d\.\d s in .*/example\.py:16 in main\n")
    assert program.end() == 0
    assert program.out.count(f"WARNING Event loop blocked for over 1.0 s in {file}:16 in main: ") == 1
