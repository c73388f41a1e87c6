"""A JSON API: typed bodies and queries, 422 that says where, pages of a list, a description in OpenAPI.

    python examples/items.py [host:port]
    curl -d '{"name": "Lamp", "price": 12.5}' -H 'content-type: application/json' localhost:8080/items
    curl 'localhost:8080/items?limit=10'

Nothing is generated: the schema of the types comes from msgspec, the paths are written down beside them.
"""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from msgspec import Meta, Struct

import asgineer
from asgineer import HTTPError, HttpRequest, MethodNotAllowed, Response, param


class NewItem(Struct, forbid_unknown_fields=True):
    """What a client sends."""

    name: Annotated[str, Meta(min_length=1, max_length=80)]
    price: Annotated[float, Meta(ge=0)]
    tags: Annotated[list[str], Meta(max_length=10)] = []


class Item(NewItem):
    """What is kept, and answered."""

    id: int = 0


@dataclass
class Page:
    """Which part of the list: what comes after an id, and how much of it."""

    after: Annotated[int, Meta(ge=0)] = 0
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


items: dict[int, Item] = {}
numbers = itertools.count(1)


def render_error(request: object, error: HTTPError) -> Response:
    """Errors of an API are JSON, too."""
    return {"error": error.body, "fields": getattr(error, "errors", {})}


@asgineer.to_asgi(error=render_error)
async def main(request: HttpRequest) -> Response:
    match request.verb, *request.parts:
        case "GET", "items":
            return list_items(request.get_query(Page))
        case "POST", "items":
            return create(await request.get_json(type=NewItem))
        case _, "items":
            raise MethodNotAllowed("GET", "POST")
        case "GET", "items", number:
            return find(number)
        case "PUT", "items", number:
            return replace(find(number), await request.get_json(type=NewItem))
        case "DELETE", "items", number:
            del items[find(number).id]
            return 204, {}, None
        case _, "items", _:
            raise MethodNotAllowed("GET", "PUT", "DELETE")
        case "GET", "openapi.json":
            return OPENAPI
        case _:
            raise HTTPError(404)


def list_items(page: Page) -> Response:
    """Answer a page of the list, and where the next one is (RFC 8288)."""
    found = [item for number, item in sorted(items.items()) if number > page.after]
    shown = found[: page.limit]
    if len(found) == len(shown):
        return {"items": shown}
    following = "/items?" + urlencode({"after": shown[-1].id, "limit": page.limit})
    return {"link": f'<{following}>; rel="next"'}, {"items": shown, "next": following}


def find(number: str) -> Item:
    item = items.get(param(number, int))
    if item is None:
        raise HTTPError(404)
    return item


def create(new: NewItem) -> Response:
    item = Item(new.name, new.price, new.tags, id=next(numbers))
    items[item.id] = item
    return 201, {"location": f"/items/{item.id}"}, item


def replace(item: Item, new: NewItem) -> Response:
    items[item.id] = Item(new.name, new.price, new.tags, id=item.id)
    return items[item.id]


def describe() -> dict[str, Any]:
    """Return the API in OpenAPI 3.1: the types by msgspec, the paths by hand."""
    (new, item), components = msgspec.json.schema_components(
        [NewItem, Item], ref_template="#/components/schemas/{name}"
    )

    def body(schema: dict[str, Any]) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}}

    number = {"name": "id", "in": "path", "required": True, "schema": {"type": "integer"}}
    answer = {"200": {"description": "The item", **body(item)}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Items", "version": "1"},
        "components": {"schemas": components},
        "paths": {
            "/items": {
                "get": {"responses": {"200": {"description": "A page of the list"}}},
                "post": {
                    "requestBody": body(new),
                    "responses": {"201": {"description": "Made", **body(item)}},
                },
            },
            "/items/{id}": {
                "parameters": [number],
                "get": {"responses": answer},
                "put": {"requestBody": body(new), "responses": answer},
                "delete": {"responses": {"204": {"description": "Gone"}}},
            },
        },
    }


OPENAPI = describe()


if __name__ == "__main__":
    asgineer.run(main, bind=sys.argv[1] if len(sys.argv) > 1 else "localhost:8080")
