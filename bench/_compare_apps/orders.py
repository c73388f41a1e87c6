"""The type of the orders that are posted, for the applications that check by msgspec."""

from __future__ import annotations

import msgspec


class Line(msgspec.Struct):
    sku: str
    count: int
    price: float


class Order(msgspec.Struct):
    id: int
    customer: str
    gift: bool
    lines: list[Line]


class Contact(msgspec.Struct):
    name: str
    email: str
    age: int
    message: str
