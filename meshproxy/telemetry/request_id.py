"""The `x-request-id`: a random UUID (RFC 9562 version 4) whose version digit also says why a request is traced.

Source: Envoy's `envoy.request_id.uuid`. Digit 14 is "4" for a request that isn't traced, "9" for a sampled one, "a" for
a forced one and "b" for one that the client asked for; the first eight digits serve as a random number that every proxy
on the way sees alike.
"""

from __future__ import annotations

from collections.abc import Callable

NOT_TRACED = "4"
SAMPLED = "9"
FORCED = "a"
CLIENT = "b"

_LENGTH = 36
_REASON = 14
_HEX = frozenset("0123456789abcdefABCDEF")
# The variant digit keeps two random bits.
_VARIANT = {digit: "89ab"[index % 4] for index, digit in enumerate("0123456789abcdef")}


def id_source(getrandbits: Callable[[int], int]) -> Callable[[], str]:
    """A function that makes request ids out of `getrandbits` (of a `random.Random`)."""
    variant = _VARIANT

    def new_id() -> str:
        digits = "%032x" % getrandbits(128)  # noqa: UP031  # a third faster than an f-string here
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant[digits[16]]}{digits[17:20]}-{digits[20:]}"

    return new_id


def trace_reason(request_id: str) -> str:
    """NOT_TRACED, SAMPLED, FORCED or CLIENT; NOT_TRACED for what isn't one of our ids."""
    if len(request_id) == _LENGTH and request_id[_REASON] in "9ab":
        return request_id[_REASON]
    return NOT_TRACED


def with_trace_reason(request_id: str, reason: str) -> str:
    """The id with another reason; what isn't shaped like an id comes back unchanged."""
    if len(request_id) != _LENGTH:
        return request_id
    return f"{request_id[:_REASON]}{reason}{request_id[_REASON + 1 :]}"


def stable_value(request_id: str) -> int | None:
    """The random number in an id, below 2**32; None if it isn't one."""
    digits = request_id[:8]
    if len(digits) < 8 or not _HEX.issuperset(digits):
        return None
    return int(digits, 16)
