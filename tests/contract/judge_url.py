"""`python -m tests.contract.judge_url URL`: what REDbot finds when it asks for the URL, as JSON.

In a process of its own, as it has an event loop of its own kind.
"""

from __future__ import annotations

import json
import sys
from configparser import ConfigParser

import thor
from redbot.resource import HttpResource  # type: ignore[import-untyped]  # has no types


def judge(url: str) -> dict[str, object]:
    """Return its notes as [level, summary], and which of what it tries are supported."""
    config = ConfigParser()
    config.read_dict({"redbot": {"enable_local_access": "True"}})
    resource = HttpResource(config["redbot"])
    resource.set_request(url)
    resource.once("check_done", thor.stop)
    resource.check()
    thor.run()
    notes = [
        *resource.response.notes,
        *(note for sub in resource.subreqs.values() for note in sub.response.notes),
    ]
    return {
        "notes": [[note.level.value, note.summary] for note in notes],
        "ranges": resource.partial_support,
        "if-none-match": resource.inm_support,
        "if-modified-since": resource.ims_support,
        "gzip": resource.gzip_support,
    }


if __name__ == "__main__":
    print(json.dumps(judge(sys.argv[1])))
