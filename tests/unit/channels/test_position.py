"""Positions and vectors of them, as text that anybody can send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgineer.channels._position import (
    MAX_OFFSET,
    UNKNOWN,
    join_positions,
    parse_position,
    prefix_of,
    split_positions,
    tag_of,
)

ROOM, NEWS = tag_of("room"), tag_of("news")
EPOCHS = st.from_regex(r"[A-Za-z0-9_-]{1,58}", fullmatch=True)


def test_tags_are_of_names() -> None:
    assert ROOM != NEWS
    assert len(ROOM) == len(NEWS) == 6
    assert tag_of("room") == ROOM


@given(EPOCHS, st.integers(0, MAX_OFFSET))
def test_what_is_written_is_read(epoch: str, offset: int) -> None:
    assert parse_position(f"{prefix_of(epoch, ROOM)}{offset}", ROOM) == (epoch, offset)
    assert parse_position(f"{prefix_of(epoch, ROOM)}{offset}", NEWS) is None


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    parse_position(text, ROOM)
    split_positions(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        UNKNOWN,
        "1",
        f"{ROOM}.1",
        f"e{ROOM}.",
        f"e{ROOM}.01",
        f"e{ROOM}.-1",
        f"e{ROOM}.+1",
        f"e{ROOM}.1 ",
    ]
    + [f"e{ROOM}.1\n", f"é{ROOM}.1", f"e{ROOM}.{MAX_OFFSET + 1}", f"e{ROOM}.١", f"{'e' * 65}{ROOM}.1"],
)
def test_what_is_no_position(text: str) -> None:
    assert parse_position(text, ROOM) is None


def test_a_vector_in_any_order() -> None:
    positions = [f"e{ROOM}.1", f"f{NEWS}.2"]
    for parts in (positions, positions[::-1]):
        assert split_positions(join_positions(parts)) == {ROOM: positions[0], NEWS: positions[1]}


def test_a_vector_leaves_out_what_is_no_position() -> None:
    assert split_positions(f"{UNKNOWN}~e{ROOM}.1~x~~") == {ROOM: f"e{ROOM}.1"}


def test_two_positions_for_one_tag_are_none() -> None:
    assert split_positions(f"e{ROOM}.1~f{NEWS}.1~e{ROOM}.2") == {NEWS: f"f{NEWS}.1"}


def test_too_long_a_vector_is_none() -> None:
    assert split_positions(f"e{ROOM}.1~" * 2000) == {}
