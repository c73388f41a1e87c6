"""nginx and Caddy as docs/guide/deploying.md configures them, on ports of a test."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "guide" / "deploying.md").read_text(encoding="utf-8")
NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {block}
}}
"""
CADDY = "{{\n  admin off\n  auto_https off\n}}\n{block}"


def block_of(heading: str) -> str:
    """Return the block of code under a heading of the page."""
    found = re.search(rf"^## {heading}\n.*?^```\w*\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None, heading
    return found[1]


def command_of(proxy: str, folder: Path, port: int, app_port: int) -> list[str]:
    """Write the configuration of the page for these ports; return how its proxy is started."""
    program = shutil.which(proxy)
    if program is None:
        pytest.skip(f"there is no {proxy}; `apt-get install {proxy}` brings it")
    block = block_of({"nginx": "nginx", "caddy": "Caddy"}[proxy]).replace(
        "127.0.0.1:8080", f"127.0.0.1:{app_port}"
    )
    if proxy == "nginx":
        block = block.replace("listen 80;", f"listen 127.0.0.1:{port};")
        (folder / "proxy.conf").write_text(NGINX.format(folder=folder, block=block))
        return [program, "-e", str(folder / "errors"), "-p", str(folder), "-c", str(folder / "proxy.conf")]
    block = block.replace(":80 {", f"http://:{port} {{\n    bind 127.0.0.1")
    (folder / "Caddyfile").write_text(CADDY.format(block=block))
    return [program, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
