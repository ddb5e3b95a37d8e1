"""Dataclasses that a program with hundreds of them can afford at its start.

Theory. `dataclasses.dataclass` writes up to six methods of a class as source and compiles each by itself (until Python
3.13): a third of what the program does before its first byte. All but `__init__` can do without: they are the same
functions for every class, over a getter of all fields that `operator` has in C. And `__init__` is compiled when a
class has proved to have many instances, since most configurations need few of the classes and of those a few objects.

The classes are dataclasses in every other way: `fields`, `replace`, `match` and static checks know them as such.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import MISSING, Field, FrozenInstanceError, field
from operator import attrgetter
from typing import Any, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")

_FEW = 20
"""A compiled `__init__` saves some 5 us each time, and to compile it takes 200."""


@dataclass_transform(field_specifiers=(field,))
def dataclass(*, frozen: bool = False, slots: bool = False, eq: bool = True) -> Callable[[type[T]], type[T]]:
    """`dataclasses.dataclass` with these of its options."""

    def make(cls: type[T]) -> type[T]:
        cls = dataclasses.dataclass(init=False, repr=False, eq=False, slots=slots)(cls)
        fields = dataclasses.fields(cls)  # type: ignore[arg-type]  # it is a dataclass now
        own = cls.__dict__
        methods: dict[str, Any] = {"__init__": _first_init(cls, frozen), "__repr__": _repr}
        if eq:
            methods |= {"__eq__": _eq, "__hash__": _hash if frozen else None}
            methods["_values"] = staticmethod(_getter([each.name for each in fields if each.compare]))
        for name, method in methods.items():
            if name not in own or (name == "__hash__" and own[name] is None):
                setattr(cls, name, method)
        if frozen:  # mypy takes a method for constant; to give each class its own is what a dataclass does
            cls.__setattr__ = _refuse  # type: ignore[method-assign]
            cls.__delattr__ = _refuse  # type: ignore[method-assign]
        return cls

    return make


def _first_init(cls: type, frozen: bool) -> Callable[..., None]:
    """An `__init__` for a few instances. Then, or for arguments that don't fit, it makes way for a compiled one."""
    left = _FEW

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        nonlocal left
        left -= 1
        fields = dataclasses.fields(cls)
        if left < 0 or not _fill(self, fields, args, kwargs):
            init = _make_init(cls, fields, frozen)
            cls.__init__ = init  # type: ignore[misc]  # that is the point
            init(self, *args, **kwargs)
        elif hasattr(self, "__post_init__"):
            self.__post_init__()

    return __init__


def _fill(record: Any, fields: tuple[Field[Any], ...], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Set the fields of a new record. False: the arguments are not such as its `__init__` takes."""
    names = [each.name for each in fields if each.init]
    given = dict(zip(names, args, strict=False)) | kwargs
    if len(given) != len(args) + len(kwargs) or not given.keys() <= set(names):
        return False
    put = object.__setattr__
    for each in fields:
        if each.name in given:
            put(record, each.name, given[each.name])
        elif each.default_factory is not MISSING:
            put(record, each.name, each.default_factory())
        elif each.default is not MISSING:
            put(record, each.name, each.default)
        elif each.init:
            return False
    return True


def _make_init(cls: type, fields: tuple[Field[Any], ...], frozen: bool) -> Callable[..., None]:
    names: dict[str, Any] = {"put": object.__setattr__, "absent": MISSING}
    parameters = []
    lines = []
    for each in fields:
        name = each.name
        value = name
        if each.default_factory is not MISSING:
            names[f"make_{name}"] = each.default_factory
            value = f"make_{name}()" if not each.init else f"make_{name}() if {name} is absent else {name}"
            default = "=absent"
        elif each.default is not MISSING:
            names[f"default_{name}"] = each.default
            default = f"=default_{name}"
            value = name if each.init else f"default_{name}"
        elif each.init:
            default = ""
        else:
            continue  # `__post_init__` is to set it
        if each.init:
            parameters.append(name + default)
        lines.append(f" put(self,{name!r},{value})" if frozen else f" self.{name}={value}")
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    text = f"def __init__({','.join(['self', *parameters])}):\n" + ("\n".join(lines) or " pass")
    exec(text, names)
    init: Callable[..., None] = names["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


def _getter(names: list[str]) -> Callable[[Any], Any]:
    if not names:
        return lambda record: ()
    return attrgetter(*names)


def _repr(self: Any) -> str:
    shown = [f"{each.name}={getattr(self, each.name)!r}" for each in dataclasses.fields(self) if each.repr]
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: Any, other: Any) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    values = self._values
    return values(self) == values(other)


def _hash(self: Any) -> int:
    return hash(self._values(self))


def _refuse(self: object, name: str, *_: object) -> NoReturn:
    raise FrozenInstanceError(f"cannot change {type(self).__qualname__}.{name}")
