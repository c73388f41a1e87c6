"""Asgineer under `run()`, on its own HTTP protocol where there is one. Arguments: port, name of the app."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

import asgineer

if __name__ == "__main__":
    port, *name = sys.argv[1:]
    options: dict[str, Any] = {"interface": "asgi3", "timeout_keep_alive": 600}
    if find_spec("asgineer._uvicorn"):
        options["http"] = "asgineer"
    app = name[0] if name else "_compare_apps.asgineer_app:app"
    asgineer.run(app, "uvicorn", f"127.0.0.1:{port}", **options)
