"""JSON, by msgspec, which is loaded with the first use and not with the package.

Going out: dict, list, dataclasses, Structs, datetime, UUID, Decimal, enums; NaN and the
infinities become null, as `JSON.stringify` has it; bytes become base64. Objects of other
libraries that know how to write themselves (`model_dump_json`, as pydantic's do) are asked.
Coming in: the text of RFC 8259 in UTF-8; NaN, too deep nesting, a lone surrogate are errors.
"""

from __future__ import annotations

from typing import Any

from .errors import BadRequest


def _encode_other(value: Any) -> Any:
    """Give msgspec something it knows, for what it does not know."""
    import msgspec

    if isinstance(value, str):  # subclasses, such as the safe strings of template engines
        return str.__str__(value)
    if hasattr(type(value), "model_dump_json"):
        return msgspec.Raw(value.model_dump_json().encode())
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


def encode(value: Any) -> bytes:
    """Return the JSON text of `value` as UTF-8.

    Raises:
        TypeError: some part of it has no JSON form; the text says which type.
        ValueError: nested too deep, a cycle, or a lone surrogate in a string.
    """
    import msgspec

    try:
        return msgspec.json.encode(value, enc_hook=_encode_other)
    except (TypeError, NotImplementedError) as error:
        raise TypeError(f"Could not JSON encode {type(value).__name__}: {error}") from None
    except RecursionError:
        raise ValueError(
            f"Could not JSON encode {type(value).__name__}: nested too deep, or a cycle"
        ) from None
    except (ValueError, OverflowError) as error:
        raise ValueError(f"Could not JSON encode {type(value).__name__}: {error}") from None


def decode(data: bytes) -> Any:
    """Return the value of the JSON text `data`.

    Raises:
        BadRequest: it is no JSON; the text is fixed and short, nothing of `data` is in it.
    """
    import msgspec

    if not data:
        raise BadRequest("Empty body, expected JSON")
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise BadRequest("JSON is nested too deep") from None
    except (msgspec.MsgspecError, ValueError):
        raise BadRequest("Body is not valid JSON") from None
