"""Live figures and request times of an app, in the text format of Prometheus.

    pip install prometheus-client
    python examples/metrics.py [host:port]

/metrics is what Prometheus reads. Of several workers each has figures of its own.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

import asgineer
from asgineer import BaseRequest, HTTPError, HttpRequest, Response, param

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = {
    "open_requests": "HTTP requests whose handler runs.",
    "open_streams": "Responses that are being sent in pieces.",
    "open_websockets": "Websockets whose handler runs.",
    "tasks": "Background tasks that run.",
}
SINCE_START = {
    "requests": "HTTP requests that came.",
    "websockets": "Websocket handshakes that came.",
    "disconnects": "Clients that left before the end.",
    "send_timeouts": "Connections aborted as their client took nothing.",
}


class LiveFigures(Collector):
    """What `asgineer.stats()` gives, at the moment it is asked for."""

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        figures = asgineer.stats()._asdict()
        for name, text in NOW.items():
            yield GaugeMetricFamily(f"asgineer_{name}", text, figures[name])
        for name, text in SINCE_START.items():
            yield CounterMetricFamily(f"asgineer_{name}", text, figures[name])


registry = CollectorRegistry()
registry.register(LiveFigures())
seconds_of = Histogram("http_request_seconds", "Time to answer.", ["route", "status"], registry=registry)


def observe(request: BaseRequest, status: int, size: int, seconds: float, outcome: str) -> None:
    # By label and not by path: paths are as many as clients make up.
    seconds_of.labels(request.label or "other", str(status)).observe(seconds)


@asgineer.to_asgi(done=observe)
async def main(request: HttpRequest) -> Response:
    match request.verb, *request.parts:
        case ("GET",):
            request.label = "/"
            return "<html><a href='/square/12'>A square</a>, and <a href='/metrics'>the metrics</a></html>"
        case "GET", "square", number:
            request.label = "/square/…"
            return {"square": param(number, int) ** 2}
        case "GET", "metrics":
            request.label = "/metrics"
            return {"content-type": CONTENT_TYPE_LATEST}, generate_latest(registry)
        case _:
            raise HTTPError(404)


if __name__ == "__main__":
    asgineer.run(main, bind=sys.argv[1] if len(sys.argv) > 1 else "localhost:8080")
