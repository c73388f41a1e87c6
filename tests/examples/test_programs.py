"""The examples without a page: what they answer, asked by independent clients over real sockets."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

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
        assert client.get("/messages").json() == []
        for text in ("one", "two"):
            assert client.post("/messages", json={"name": "Ann", "text": text}).status_code == 204
        messages = client.get("/messages?wait=25").json()
        assert [message["text"] for message in messages] == ["one", "two"]
        assert messages[0]["reset"]
        first, second = (message["id"] for message in messages)
        (missed,) = client.get(f"/messages?wait=25&since={first}").json()
        assert missed == {"id": second, "name": "Ann", "text": "two"}
        assert client.get(f"/messages?since={second}").json() == []
        for unknown in ("other.1", first + "9", "x", first.replace(".", ".-"), first + "9" * 99):
            assert len(client.get("/messages", params={"since": unknown}).json()) == 2
        assert client.post("/messages", json={"name": "", "text": "a"}).status_code == 422
        assert client.get("/messages?wait=26").status_code == 422
