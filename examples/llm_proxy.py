"""A proxy for a language model: tokens reach the browser as they are made, and only as long as it listens.

    pip install httpx2
    python examples/llm_proxy.py [host:port]

The model is at LLM_URL: by default a pretend one in this program, at /model, which repeats what it
was told. When the client leaves, the request to the model is closed; a model that is too busy
(429) is told as that, since the first token comes before the status.
"""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import httpx2

import asgineer
from asgineer import EventStream, HTTPError, HttpRequest, Response
from asgineer.security import check_origin

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Ask the model</title>
<link rel="icon" href="data:,">
<style>
  body { font-family: system-ui, sans-serif; margin: 3em auto; max-width: 40em; padding: 0 1em; color: #223 }
  form { display: flex; gap: .5em }
  input { flex: 1 }
  input, button { font: inherit; padding: .4em .7em }
  #answer { min-height: 8em; padding: 1em; background: #eef1f5; border-radius: .5em; white-space: pre-wrap }
</style>
<h1>Ask the model</h1>
<form id="ask">
  <input name="prompt" required autocomplete="off" value="It repeats what you say, until you stop it.">
  <button>Ask</button>
  <button type="button" id="stop">Stop</button>
</form>
<p id="answer"></p>
<script>
  const answer = document.getElementById("answer");
  let going = new AbortController();
  document.getElementById("stop").onclick = () => going.abort();
  document.getElementById("ask").onsubmit = async (event) => {
    event.preventDefault();
    const body = JSON.stringify({ prompt: event.target.elements.prompt.value });
    going.abort();
    going = new AbortController();
    answer.textContent = "";
    try {
      const headers = { "content-type": "application/json" };
      const response = await fetch("/ask", { method: "POST", headers, body, signal: going.signal });
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let piece; !(piece = await reader.read()).done; ) answer.textContent += piece.value;
    } catch (error) {
      answer.textContent += error.name === "AbortError" ? " [stopped]" : " [connection lost]";
    }
  };
</script>
</html>
"""

INTERVAL = 0.2  # seconds that the pretend model needs for a token
MOST_AT_ONCE = 2  # that it works for


@dataclass
class Question:
    prompt: str


@contextlib.asynccontextmanager
async def lifespan() -> AsyncGenerator[dict[str, httpx2.AsyncClient]]:
    url = os.environ.get("LLM_URL", "http://localhost:8080/model")
    async with httpx2.AsyncClient(base_url=url, timeout=60) as model:
        yield {"model": model}


@asgineer.to_asgi(lifespan=lifespan)
async def main(request: HttpRequest) -> Response:
    match request.verb, *request.parts:
        case ("GET",):
            return PAGE
        case "POST", "ask":
            check_origin(request)
            question = await request.get_json(type=Question)
            return {"content-type": "text/plain; charset=utf-8"}, ask(request.state["model"], question)
        case _, "model", *rest:
            return await pretend_model(request, rest)
        case _:
            raise HTTPError(404)


async def ask(model: httpx2.AsyncClient, question: Question) -> AsyncIterator[str]:
    """Yield the tokens of the answer; the request to the model ends when this is closed."""
    async with model.stream("POST", "/generate", json=asdict(question)) as answer:
        if answer.status_code == 429:
            retry_after = answer.headers.get("retry-after", "1")
            raise HTTPError(429, "The model is busy, try again", headers={"retry-after": retry_after})
        if not answer.is_success:
            raise HTTPError(502, "The model does not answer")
        async for event in httpx2.EventSource(answer):
            yield event.data


# The pretend model


open_answers = 0


async def pretend_model(request: HttpRequest, rest: list[str]) -> Response:
    match request.verb, *rest:
        case "GET", "open":
            return {"open": open_answers}
        case "POST", "generate":
            if open_answers >= MOST_AT_ONCE:
                raise HTTPError(429, headers={"retry-after": "2"})
            question = await request.get_json(type=Question)
            return EventStream(generate(question.prompt))
        case _:
            raise HTTPError(404)


async def generate(prompt: str) -> AsyncIterator[str]:
    """Repeat what was said, without an end."""
    global open_answers
    open_answers += 1
    try:
        while True:
            for word in prompt.split():
                yield word + " "
                await asgineer.sleep(INTERVAL)
    finally:
        open_answers -= 1


if __name__ == "__main__":
    bind = sys.argv[1] if len(sys.argv) > 1 else "localhost:8080"
    os.environ.setdefault("LLM_URL", f"http://{bind}/model")
    asgineer.run(main, bind=bind)
