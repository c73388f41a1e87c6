"""JSON, by msgspec, which is loaded with the first use and not with the package.

Going out: dict, list, dataclasses, Structs, datetime, UUID, Decimal, enums; NaN and the
infinities become null, as `JSON.stringify` has it; bytes become base64. Objects of other
libraries that know how to write themselves (`model_dump_json`, as pydantic's do) are asked.
Coming in: the text of RFC 8259 in UTF-8; NaN, too deep nesting, a lone surrogate are errors.
"""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from ._log import escape
from .errors import BadRequest, InvalidData

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_MESSAGE = 200  # characters of one message; it can name a field or a value of the client's
MAX_ERRORS = 20  # of one body that are told


def _encode_other(value: Any) -> Any:
    """Give msgspec something it knows, for what it does not know."""
    import msgspec

    if isinstance(value, str):  # subclasses, such as the safe strings of template engines
        return str.__str__(value)
    if hasattr(type(value), "model_dump_json"):
        return msgspec.Raw(value.model_dump_json().encode())
    raise NotImplementedError(f"{type(value).__name__} has no JSON form")


_encode: Callable[[Any], bytes] | None = None


def _load_encoder() -> Callable[[Any], bytes]:
    """Load msgspec, with the first JSON; an import statement in `encode` would cost more than small JSON."""
    global _encode
    import msgspec

    _encode = msgspec.json.Encoder(enc_hook=_encode_other).encode
    return _encode


def encode(value: Any) -> bytes:
    """Return the JSON text of `value` as UTF-8.

    Raises:
        TypeError: some part of it has no JSON form; the text says which type.
        ValueError: nested too deep, a cycle, or a lone surrogate in a string.
    """
    try:
        return (_encode or _load_encoder())(value)
    except (TypeError, NotImplementedError) as error:
        raise TypeError(f"Could not JSON encode {type(value).__name__}: {error}") from None
    except RecursionError:
        raise ValueError(
            f"Could not JSON encode {type(value).__name__}: nested too deep, or a cycle"
        ) from None
    except (ValueError, OverflowError) as error:
        raise ValueError(f"Could not JSON encode {type(value).__name__}: {error}") from None


def decode(data: bytes, type: Any = None) -> Any:
    """Return the value of the JSON text `data`, checked against `type` in the same step.

    Args:
        data: UTF-8, without a byte order mark (RFC 8259 section 8.1).
        type: what msgspec knows (dataclass, Struct, TypedDict, `list[int]`, …), or a class with
            `model_validate_json`, as pydantic's models have; None takes any JSON.

    Raises:
        BadRequest: it is no JSON; the text is fixed and short, nothing of `data` is in it.
        InvalidData: it is JSON of another shape; the text says where.
    """
    if not data:
        raise BadRequest("Empty body, expected JSON")
    try:
        try:
            decoder = _decoder_of(type)
        except TypeError:  # Annotated with something that has no hash, so nothing is remembered of it
            decoder = _decoder_of.__wrapped__(type)
        return decoder(data)
    except Exception as error:
        told = _told(error, type)
        if told is error:
            raise
        try:
            raise told from None
        finally:
            del told  # its traceback holds this frame: a circle, which would keep the request


@lru_cache(maxsize=256)  # by types, which are the program's own
def _decoder_of(type: Any) -> Callable[[bytes], Any]:
    """Return what decodes and checks the JSON text of a value of `type`."""
    if hasattr(type, "model_validate_json"):
        return partial(_validate_model, type=type)
    import msgspec

    decode = msgspec.json.Decoder(Any if type is None else type).decode
    if "DataclassType" in repr(msgspec.inspect.type_info(Any if type is None else type)):
        return lambda data: _with_defaults(decode(data))
    return decode


def _told(error: Exception, type: Any) -> Exception:
    """Return what the client hears of; the error itself where it isn't the client's."""
    import msgspec

    if isinstance(error, RecursionError):
        return BadRequest("JSON is nested too deep")
    # A number that no type can hold is told as one of the wrong shape, but it is no usable JSON.
    is_shape = isinstance(error, msgspec.ValidationError) and "out of range" not in str(error)
    if is_shape and type is not None:
        return InvalidData(escape(str(error), MAX_MESSAGE))
    if isinstance(error, (msgspec.MsgspecError, ValueError)):
        return BadRequest("Body is not valid JSON")
    return error


def _with_defaults(value: Any) -> Any:
    """Put the defaults of fields that weren't sent into the dataclasses of `value`, and return it.

    msgspec 0.22 leaves them to the class, where attributes find them, but its encoder doesn't.
    """
    if hasattr(value, "__dataclass_fields__"):
        own = getattr(value, "__dict__", {})
        for name in value.__dataclass_fields__:
            own.setdefault(name, getattr(value, name))
        children = own.values()
    elif isinstance(value, dict):
        children = value.values()
    else:
        children = value if isinstance(value, (list, tuple, set, frozenset)) else ()
    for child in children:
        _with_defaults(child)
    return value


def _validate_model(data: bytes, type: Any) -> Any:
    """Let a class of another library check `data`; what is no JSON at all is told as everywhere."""
    try:
        return type.model_validate_json(data)
    except ValueError as error:
        decode(data)
        raise InvalidData(_model_errors(error)) from None


def _model_errors(error: Any) -> dict[str, str]:
    """Return message by field from what pydantic raises, else one text that says nothing of the data."""
    try:
        details = [(".".join(map(str, detail["loc"])), str(detail["msg"])) for detail in error.errors()]
    except Exception:
        return {"": "Invalid data"}
    return {name: escape(message, MAX_MESSAGE) for name, message in details[:MAX_ERRORS]}
