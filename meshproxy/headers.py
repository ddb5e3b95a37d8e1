"""Header fields of an HTTP message, in wire order.

A message has a dozen fields and passes through some dozen look-ups and changes, so the representation is chosen for
those: one `dict` whose insertion order is the order on the wire. Replacing a value keeps its place and a new field
goes to the end, which is what Envoy's header map does too. A name that occurs again gets a *serial key*: the name,
NUL, and a number. NUL can't occur in a field name (RFC 9110 section 5.1), so a serial key never collides, and a
message without repeated names (nearly every one) pays nothing for those that have them.

Some names never get one: what arrives for a name in `JOINED` is joined with a comma to what is there
(`joined_headers`), so whoever looks up, replaces or removes one of them has all of it.

Invariants:
- names are lower-case tokens; values carry no control byte but TAB and no surrounding white space;
- `fields[name]` is the first value of `name`; the others have serial keys, and `repeated` is then true;
- what enters from a filter is checked here; what a codec puts straight into `fields` the codec has checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import ClassVar

from meshproxy.joined_headers import JOINED_IN_REQUESTS, JOINED_IN_RESPONSES
from meshproxy.name_writer import NameWriter

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
_FORBIDDEN_IN_VALUE = {**dict.fromkeys(range(32), None), 127: None}
del _FORBIDDEN_IN_VALUE[9]


@lru_cache(1024)
def check_name(name: str) -> str:
    """Return `name` in lower case. Raises ValueError when it isn't a token (RFC 9110 section 5.6.2)."""
    lowered = name.lower()
    if not lowered or not _TOKEN.issuperset(lowered):
        raise ValueError(f"{name!r} is not a header field name")
    return lowered


def check_value(value: str) -> str:
    """Return `value` without surrounding white space. Raises ValueError for control bytes and beyond Latin-1."""
    if value.isascii() and value.isprintable():
        return value.strip(" ")
    if value.translate(_FORBIDDEN_IN_VALUE) != value or (not value.isascii() and max(value) > "\xff"):
        raise ValueError(f"{value!r} can't be a header field value")
    return value.strip(" \t")


class Headers:
    """An ordered multimap of header fields. Names are case-insensitive here and lower-case inside.

    written: how the peer wrote the names, where the configuration wants that kept (`preserve_case`); else None.
    """

    __slots__ = ("fields", "repeated", "written")

    JOINED: ClassVar[frozenset[str]] = frozenset()
    """Names whose values are one value, joined with a comma."""

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        self.fields: dict[str, str] = {}
        self.repeated = False
        self.written: NameWriter | None = None
        for name, value in fields:
            self.add(name, value)

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of `name`; a repeated one is joined with "," as RFC 9110 section 5.2 has it."""
        value = self.fields.get(name)
        if value is None:
            if name.islower() or not name:
                return default
            return self.get(name.lower(), default)
        if self.repeated:
            return ",".join(self.get_all(name))
        return value

    def get_all(self, name: str) -> list[str]:
        """Every value of `name`, in wire order."""
        name = name.lower()
        if not self.repeated:
            value = self.fields.get(name)
            return [] if value is None else [value]
        serial = name + "\0"
        return [value for key, value in self.fields.items() if key == name or key.startswith(serial)]

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __setitem__(self, name: str, value: str) -> None:
        """Replace every value of `name` by this one, at the place of the first. Raises ValueError if malformed."""
        name = check_name(name)
        value = check_value(value)
        if self.repeated:
            self._remove_serials(name)
        self.fields[name] = value

    def __delitem__(self, name: str) -> None:
        if not self.remove(name):
            raise KeyError(name)

    def add(self, name: str, value: str) -> None:
        """Append a field, also when `name` is there already. Raises ValueError if malformed."""
        self.append_checked(check_name(name), check_value(value))

    def append_checked(self, name: str, value: str) -> None:
        """`add` for a lower-case name and a value that are known to be well formed."""
        fields = self.fields
        if name not in fields:
            fields[name] = value
            return
        if name in self.JOINED:
            if value:
                fields[name] = f"{fields[name]},{value}" if fields[name] else value
            return
        self.repeated = True
        serial = len(fields)
        while (key := f"{name}\0{serial}") in fields:
            serial += 1
        fields[key] = value

    def remove(self, name: str) -> bool:
        """Remove every value of `name`; say whether there was one."""
        name = name.lower()
        if self.repeated:
            self._remove_serials(name)
        return self.fields.pop(name, None) is not None

    def _remove_serials(self, name: str) -> None:
        serial = name + "\0"
        for key in [key for key in self.fields if key.startswith(serial)]:
            del self.fields[key]

    def items(self) -> Iterator[tuple[str, str]]:
        """Name and value of every field, in wire order, repeated names repeated."""
        if not self.repeated:
            return iter(self.fields.items())
        return ((key.partition("\0")[0], value) for key, value in self.fields.items())

    def joined_items(self) -> Iterable[tuple[str, str]]:
        """Each name once, with its value as `get` gives it."""
        if not self.repeated:
            return self.fields.items()
        return [(name, ",".join(self.get_all(name))) for name in dict.fromkeys(self)]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self.fields or name.lower() in self.fields)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self.items())

    def __len__(self) -> int:
        return len(self.fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Headers) and list(self.items()) == list(other.items())

    __hash__ = None  # type: ignore[assignment]  # mutable

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.items())!r})"


class RequestHeaders(Headers):
    """The head of a request: the four pseudo-fields of RFC 9113 section 8.3.1 as attributes, and the fields.

    `authority` is the Host field of HTTP/1; it isn't among the fields.
    """

    __slots__ = ("authority", "method", "path", "scheme")

    JOINED = JOINED_IN_REQUESTS

    def __init__(
        self,
        method: str = "GET",
        path: str = "/",
        authority: str = "",
        scheme: str = "http",
        fields: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(fields)
        self.method = method
        self.path = path
        self.authority = authority
        self.scheme = scheme

    def __repr__(self) -> str:
        return f"RequestHeaders({self.method} {self.scheme}://{self.authority}{self.path} {list(self.items())!r})"


class ResponseHeaders(Headers):
    """The head of a response: `status` (100-599 and what peers invent, three digits) and the fields."""

    __slots__ = ("status",)

    JOINED = JOINED_IN_RESPONSES

    def __init__(self, status: int = 200, fields: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(fields)
        self.status = status

    def __repr__(self) -> str:
        return f"ResponseHeaders({self.status} {list(self.items())!r})"
