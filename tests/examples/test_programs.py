"""The examples without a page: what they answer, asked by independent clients over real sockets."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from asgineer.testing._process import ServerProcess, free_port
from tests.channels.redis_server import PRESENT, RedisServer
from tests.examples.conftest import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.examples.conftest import Example

    RunExample = Callable[[str], Example]

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("examples")]

PATIENCE = 10.0  # seconds


def test_echo_sends_back_what_came(run_example: RunExample) -> None:
    with connect(run_example("echo").url.replace("http", "ws"), max_size=None, proxy=None) as socket:
        for message in ("tëxt", b"\x00\xff", "", "x" * 2_000_000):
            socket.send(message)
            assert socket.recv(PATIENCE) == message


def test_echo_is_for_websockets(run_example: RunExample) -> None:
    assert httpx2.get(run_example("echo").url).status_code == 426


def ask_for(client: httpx2.Client, stack: ExitStack) -> httpx2.Response:
    """Ask the model, and stay until the stack ends."""
    return stack.enter_context(client.stream("POST", "/ask", json={"prompt": "so be it"}))


def test_model_is_left_with_the_client_and_busy_is_told(run_example: RunExample) -> None:
    url = run_example("llm_proxy").url
    with httpx2.Client(base_url=url, timeout=PATIENCE) as client:
        with ExitStack() as stack:
            answers = [ask_for(client, stack) for _ in range(2)]
            for tokens in [answer.iter_text() for answer in answers]:
                assert next(tokens).startswith("so ")
                stack.callback(tokens.close)  # type: ignore[attr-defined]  # a generator
            assert client.get("/model/open").json() == {"open": 2}
            busy = ask_for(client, stack)
            assert busy.status_code == 429
            assert busy.headers["retry-after"] == "2"
            assert busy.read() == b"The model is busy, try again"
        deadline = time.monotonic() + PATIENCE
        while client.get("/model/open").json() != {"open": 0}:
            assert time.monotonic() < deadline, "the model still works for clients that left"


def test_proxy_answers_where_the_model_does_not(run_example: RunExample) -> None:
    url = run_example("llm_proxy").url
    assert httpx2.post(url + "/ask", json={"prompt": 3}).status_code == 422
    headers = {"origin": "https://other.example", "content-type": "application/json"}
    assert httpx2.post(url + "/ask", headers=headers, content=b'{"prompt": "a"}').status_code == 403


def read_metrics(url: str) -> dict[tuple[str, str], float]:
    """Return the value of each sample, by its name and route."""
    text = httpx2.get(url + "/metrics").text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name, sample.labels.get("route", "")): sample.value for sample in samples}


def test_metrics_can_be_read_and_count(run_example: RunExample) -> None:
    url = run_example("metrics").url
    before = read_metrics(url)
    assert httpx2.get(url + "/square/12").json() == {"square": 144}
    after = read_metrics(url)
    assert after["asgineer_requests_total", ""] == before["asgineer_requests_total", ""] + 2
    assert after["asgineer_open_requests", ""] == 1
    assert after["http_request_seconds_count", "/square/…"] == 1
    assert {name.removeprefix("asgineer_") for name, _ in after if name.startswith("asgineer_")} == {
        *("open_requests", "open_streams", "open_websockets", "tasks"),
        *("requests_total", "websockets_total", "disconnects_total", "send_timeouts_total"),
    }


def test_clock_sends_event_after_event(run_example: RunExample) -> None:
    with httpx2.stream("GET", run_example("clock").url + "/ticks", timeout=PATIENCE) as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        source = iter(httpx2.EventSource(answer))
        opening, *ticks = [next(source) for _ in range(3)]
    assert opening.retry == 1000
    assert [tick.event for tick in ticks] == ["tick", "tick"]
    assert ticks[0].data != ticks[1].data


def test_chat_polls_get_what_they_missed(run_example: RunExample) -> None:
    with httpx2.Client(base_url=run_example("chat").url, timeout=PATIENCE) as client:
        assert client.get("/messages").json()["messages"] == []
        for text in ("one", "two"):
            assert client.post("/messages", json={"name": "Ann", "text": text}).status_code == 204
        batch = client.get("/messages?wait=25").json()
        assert [message["data"]["text"] for message in batch["messages"]] == ["one", "two"]
        assert not batch["reset"]
        first, second = (message["id"] for message in batch["messages"])
        (missed,) = client.get(f"/messages?wait=25&since={first}").json()["messages"]
        assert missed == {"id": second, "data": {"name": "Ann", "text": "two"}}
        assert client.get(f"/messages?since={second}").json() == {
            "messages": [],
            "position": second,
            "reset": False,
        }
        for unknown in ("other.1", first + "9", "x", first.replace(".", ".-"), first + "9" * 99):
            batch = client.get("/messages", params={"since": unknown}).json()
            assert (batch["messages"], batch["reset"]) == ([], True)
        assert client.post("/messages", json={"name": "", "text": "a"}).status_code == 422
        assert client.get("/messages?wait=26").status_code == 422


def test_chat_streams_what_was_missed(run_example: RunExample) -> None:
    url = run_example("chat").url
    with httpx2.Client(base_url=url, timeout=PATIENCE) as client:
        since = client.get("/messages").json()["position"]
        for text in ("three", "four"):
            client.post("/messages", json={"name": "Ann", "text": text})
        with client.stream("GET", "/events", headers={"last-event-id": since}) as answer:
            source = iter(httpx2.EventSource(answer))
            data = list(islice((event.data for event in source if event.data), 2))
    assert data == ['{"name":"Ann","text":"three"}', '{"name":"Ann","text":"four"}']


@pytest.mark.skipif(not PRESENT, reason="there is neither Valkey nor Redis")
def test_chat_is_one_on_two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    with RedisServer() as redis, ExitStack() as stack:
        monkeypatch.setenv("ASGINEER_BUS", redis.url)
        url = serve_chat(stack)
        texts = [f"message {number}" for number in range(10)]
        for text in texts:  # each over a connection of its own, so both workers take some
            assert post(url, text) == 204
        for _ in texts:
            batch = httpx2.get(f"{url}/messages", timeout=PATIENCE).json()
            assert [message["data"]["text"] for message in batch["messages"]] == texts


def test_chat_in_one_process_says_so_on_two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASGINEER_BUS", raising=False)
    command = [sys.executable, "-m", "asgineer", "run", f"{EXAMPLES}/chat.py:main", "--workers", "2"]
    command += ["--bind", f"127.0.0.1:{free_port()}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE * 3)
    assert ended.returncode != 0
    assert "use Bus(url)" in ended.stdout + ended.stderr


def serve_chat(stack: ExitStack) -> str:
    """Serve the chat on two workers, until the stack ends."""
    port = free_port()
    command = [sys.executable, "-m", "asgineer", "run", f"{EXAMPLES}/chat.py:main", "--workers", "2"]
    process = ServerProcess.command([*command, "--bind", f"127.0.0.1:{port}"], ("127.0.0.1", port))
    stack.callback(process.stop)
    process.wait_until_ready()
    return f"http://127.0.0.1:{port}"


def post(url: str, text: str) -> int:
    answer = httpx2.post(f"{url}/messages", json={"name": "Ann", "text": text}, timeout=PATIENCE)
    return answer.status_code
