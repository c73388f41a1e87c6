"""Limits: finite by default, None is off, anything else is refused when it is made."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from asgineer import Limits
from asgineer._limits import DEFAULT_LIMITS, UNSET

NAMES = [field.name for field in dataclasses.fields(Limits)]


def test_defaults() -> None:
    assert Limits() == DEFAULT_LIMITS
    assert (Limits().query, Limits().query_fields) == (16_384, 1000)
    assert (Limits().headers, Limits().header_count) == (65_536, 128)
    assert Limits().body == 10 * 2**20


@pytest.mark.parametrize("name", NAMES)
def test_each_is_finite_and_can_be_off(name: str) -> None:
    assert getattr(Limits(), name) > 0
    assert getattr(Limits(**{name: None}), name) is None
    assert getattr(Limits(**{name: 0}), name) == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [-1, "1", True, float("inf"), float("nan")])
def test_bad_values(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"Limits.{name} must be"):
        Limits(**{name: value})


@pytest.mark.parametrize("name", ["query", "query_fields", "headers", "header_count", "body"])
def test_sizes_and_counts_are_whole_numbers(name: str) -> None:
    value: Any = 1.5
    with pytest.raises(ValueError, match=f"Limits.{name} must be"):
        Limits(**{name: value})


def test_they_are_frozen_and_named() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().body = 3  # type: ignore[misc]  # what is tested
    with pytest.raises(TypeError):
        Limits(1)  # type: ignore[call-arg]  # what is tested
    assert dataclasses.replace(Limits(), body=3).body == 3


def test_unset_prints_itself() -> None:
    assert repr(UNSET) == "UNSET"
