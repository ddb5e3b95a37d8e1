"""The cookies that the filter gives to browsers, and what it takes from theirs.

A login is five of them: the signature, the time until which it holds, and up to three tokens. While a login is under
way there are two more, twice: with the flow's identity behind their names, so that several tabs don't get in each
other's way, and without, as releases before expect them. A token that a cookie can't hold is spread over several,
`NAME_0` and on, whose number stands in `NAME_chunks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from meshproxy.headers import RequestHeaders, ResponseHeaders
from meshproxy.records import dataclass

MOST_CHUNKS = 16
_SECURE_PREFIXES = ("__Secure-", "__Host-")
_EXPIRED = "Thu, 01 Jan 1970 00:00:00 GMT"
_LONGEST_INDEX = len("_15")


@dataclass(frozen=True, slots=True)
class Cookie:
    """One that is set. attributes: what follows `secure;HttpOnly`."""

    name: str
    path: str
    domain: str
    attributes: str

    def tail(self, seconds: int) -> str:
        return f"{self._domain()};path={self.path};Max-Age={seconds};secure;HttpOnly{self.attributes}"

    def _domain(self) -> str:
        return f";domain={self.domain}" if self.domain else ""

    def set(self, response: ResponseHeaders, value: str, seconds: int, suffix: str = "") -> None:
        response.add("set-cookie", f"{self.name}{suffix}={value}{self.tail(seconds)}")

    def delete(self, response: ResponseHeaders, suffix: str = "") -> None:
        secure = "; Secure" if self.name.startswith(_SECURE_PREFIXES) else ""
        deletion = f"{self.name}{suffix}=deleted; path={self.path}; expires={_EXPIRED}{self._domain()}{secure}"
        response.add("set-cookie", deletion)

    def names_of_flows(self, names: Sequence[str]) -> Iterator[str]:
        """The suffixes of those of `names` that are this cookie, of one flow or of none."""
        for name in names:
            if name == self.name or (name.startswith(f"{self.name}.") and len(name) > len(self.name) + 1):
                yield name[len(self.name) :]


class TooLong(Exception):
    """A token that doesn't even fit into all the cookies that it may have."""


@dataclass(frozen=True, slots=True)
class Chunking:
    """size: characters of a cookie, attributes included."""

    size: int
    count: int

    def split(self, cookie: Cookie, value: str, seconds: int) -> list[str]:
        """The parts of a value; one if it fits as it is. Raises TooLong."""
        taken = len(cookie.name) + 1 + len(cookie.tail(seconds))
        if taken + len(value) <= self.size:
            return [value]
        room = self.size - taken - _LONGEST_INDEX
        if room <= 0 or len(value) > room * self.count:
            raise TooLong
        return [value[start : start + room] for start in range(0, len(value), room)]


@dataclass(frozen=True, slots=True)
class Held:
    """How a browser holds a token. whole: in one cookie. chunks: in so many."""

    whole: bool = False
    chunks: int = 0


def take_chunks(cookies: dict[str, str], name: str) -> tuple[Held, bool | None]:
    """Put a token together in place; whether that could be done, None where it isn't in parts.

    Parts that aren't all there are taken out, with all that could be one of them.
    """
    whole = name in cookies
    counted = cookies.get(f"{name}_chunks")
    if counted is None:
        return Held(whole), None
    count = int(counted) if counted.isascii() and counted.isdigit() and len(counted) < 9 else 0
    parts = [cookies.get(f"{name}_{index}", "") for index in range(count if 2 <= count <= MOST_CHUNKS else 0)]
    good = bool(parts) and all(parts)
    held = Held(whole, len(parts) if good else MOST_CHUNKS)
    del cookies[f"{name}_chunks"]
    for index in range(held.chunks):
        cookies.pop(f"{name}_{index}", None)
    cookies.pop(name, None)
    if good:
        cookies[name] = "".join(parts)
    return held, good


def delete_chunks(cookie: Cookie, response: ResponseHeaders, held: Held) -> None:
    if held.chunks:
        cookie.delete(response, "_chunks")
        for index in range(held.chunks):
            cookie.delete(response, f"_{index}")


def set_token(cookie: Cookie, response: ResponseHeaders, parts: Sequence[str], seconds: int, held: Held) -> None:
    """Give a browser a token, in parts, in place of what it holds; no parts take the token from it."""
    if held.whole and len(parts) != 1:
        cookie.delete(response)
    if len(parts) < 2:
        delete_chunks(cookie, response, held)
        for part in parts:
            cookie.set(response, part, seconds)
        return
    for index in range(len(parts), held.chunks):
        cookie.delete(response, f"_{index}")
    for index, part in enumerate(parts):
        cookie.set(response, part, seconds, f"_{index}")
    cookie.set(response, str(len(parts)), seconds, "_chunks")


def write_cookies(request: RequestHeaders, cookies: Mapping[str, str]) -> None:
    """Put these into a request in place of its own."""
    request.remove("cookie")
    request["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
