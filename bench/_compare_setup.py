"""What `compare.py` needs on the machine: environments of the peers, wrk, nginx, the files that are served.

Everything is kept in `bench/.environments`, made once and again when the list of packages changed.
What can't be had is told by its reason, and leaves cells empty; nothing here is an error of the whole.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from _compare_apps import shared

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
APPS = HERE / "_compare_apps"
ENVIRONMENTS = HERE / ".environments"
PEERS = ENVIRONMENTS / "peers"
OLDER = ENVIRONMENTS / "older"
HONO = ENVIRONMENTS / "hono"
FILES = shared.FILES
INSTALL_TIMEOUT = 300  # seconds for one package

OLDER_VERSION = "0.9.5"
# By column: each is installed by itself, so that one that can't be had empties its own column only.
COMMON = ["msgspec", "multipart", "itsdangerous", "matplotlib"]
PACKAGES = {
    "starlette": ["starlette", "python-multipart", "sse-starlette"],
    "fastapi": ["fastapi", "python-multipart"],
    "blacksheep": ["blacksheep"],
    "falcon": ["falcon"],
    "litestar": ["litestar[cryptography]"],
    "granian": ["granian[uvloop]"],
}
NODE_PACKAGES = ["hono", "@hono/node-server", "ws"]
SHOWN = ["uvicorn", "uvloop", "httptools", "websockets", "msgspec", "starlette", "fastapi", "pydantic"]
SHOWN += ["blacksheep", "falcon", "litestar", "granian"]


def python_of(environment: Path) -> str:
    return str(environment / "bin" / "python")


def set_up() -> dict[str, str]:
    """Make what is missing; return why each column that can't be measured can't."""
    reasons: dict[str, str] = {}
    uvicorn = f"uvicorn[standard]=={version('uvicorn')}"  # that of the development environment
    if failed := _install(PEERS, [uvicorn, *COMMON]):
        raise SystemExit(f"The environment of the peers could not be made: {failed}")
    for column, packages in PACKAGES.items():
        if failed := _install(PEERS, packages):
            reasons[column] = f"not installed: {failed}"
    if failed := _install(OLDER, [uvicorn, f"asgineer=={OLDER_VERSION}"]):
        reasons["older"] = f"not installed: {failed}"
    if failed := _install_node():
        reasons["hono"] = f"not installed: {failed}"
    _write_files()
    for program in ("wrk", "nginx"):
        _install_from_debian(program)
    if not shutil.which("nginx"):
        reasons["nginx"] = "not installed: no nginx, and no right to install it"
    if not shutil.which("wrk"):
        raise SystemExit("wrk is needed: apt-get install wrk")
    return reasons


def _run(command: Sequence[str], cwd: Path | None = None) -> str:
    """Run a command that installs; return why it failed, "" when it didn't."""
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{type(error).__name__}"
    lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no reason given"]
    errors = [line for line in lines if line.lower().startswith(("error", "npm err"))]
    return "" if done.returncode == 0 else (errors or lines)[-1][:200]


def _install(environment: Path, packages: list[str]) -> str:
    """Install `packages` into a virtual environment unless they are; return why not, "" when they are."""
    noted = environment / "installed.txt"
    installed = noted.read_text().splitlines() if noted.exists() else []
    line = " ".join([*packages, f"for Python {sys.version_info[0]}.{sys.version_info[1]}"])
    if line in installed:
        return ""
    print(f"installing {' '.join(packages)}", file=sys.stderr, flush=True)
    python = python_of(environment)
    if not Path(python).exists():
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    failed = _run([*pip, *packages])
    if not failed:
        noted.write_text("\n".join([*installed, line]))
    return failed


def _install_node() -> str:
    if not shutil.which("npm") or not shutil.which("node"):
        return "no node or npm"
    if all((HONO / "node_modules" / name).exists() for name in NODE_PACKAGES):
        return ""
    HONO.mkdir(parents=True, exist_ok=True)
    (HONO / "package.json").write_text('{"private": true, "type": "module"}\n')
    return _run(["npm", "install", "--no-audit", "--no-fund", *NODE_PACKAGES], HONO)


def _install_from_debian(program: str) -> None:
    if shutil.which(program) or os.geteuid() != 0 or not shutil.which("apt-get"):
        return
    print(f"installing {program}", file=sys.stderr, flush=True)
    command = ["apt-get", "install", "--yes", "--no-install-recommends", program]
    if _run(command):
        _run(["apt-get", "update"])
        _run(command)


def _write_files() -> None:
    """Write what is served from a disk, what Hono gets its texts from, and what nginx can't say by itself."""
    FILES.mkdir(parents=True, exist_ok=True)
    style = shared.STYLE.encode()
    contents = {
        shared.STYLE_NAME: style,
        f"{shared.STYLE_NAME}.gz": gzip.compress(style, mtime=0),
        "page.html": shared.PAGE.encode(),
        "large.json": json.dumps(shared.LARGE, separators=(",", ":")).encode(),
    }
    for name, data in contents.items():
        path = FILES / name
        if not path.exists() or path.read_bytes() != data:  # the time of change is in ETags
            path.write_bytes(data)
    (ENVIRONMENTS / "texts.json").write_text(
        json.dumps(
            {
                "text": shared.TEXT,
                "small": shared.SMALL,
                "large": shared.LARGE,
                "page": shared.PAGE,
                "chunk": shared.CHUNK,
                "chunks": shared.CHUNKS,
                "secret": shared.SECRET,
                "files": str(FILES),
            }
        )
    )
    # Next to the packages, where Node looks for them.
    if HONO.exists():
        shutil.copyfile(APPS / "hono_app.mjs", HONO / "hono_app.mjs")


def versions() -> str:
    """Return one line about all that was measured, and by what."""
    code = (
        "import sys; from importlib.metadata import version, PackageNotFoundError\n"
        "for name in sys.argv[1:]:\n"
        "    try: print(name, version(name))\n"
        "    except PackageNotFoundError: pass"
    )
    found = subprocess.run(
        [python_of(PEERS), "-c", code, *SHOWN], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    found.append(f"older Asgineer {OLDER_VERSION}")
    found += [f"node {_output('node', '--version')}", f"hono {_node_version('hono')}"]
    found.append(f"@hono/node-server {_node_version('@hono/node-server')}")
    found += [_output("nginx", "-v").rpartition(": ")[2], _output("wrk", "-v").partition(" [")[0]]
    return ", ".join(found)


def _output(*command: str) -> str:
    if not shutil.which(command[0]):
        return "–"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[0].strip()


def _node_version(name: str) -> str:
    path = HONO / "node_modules" / name / "package.json"
    return str(json.loads(path.read_text())["version"]) if path.exists() else "–"
