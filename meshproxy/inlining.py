"""Predicates that are written into one another's place, so that a tree of them is one function without calls.

Theory. A matcher is a closure, and a rule made of rules is a closure that calls others: each level costs a call, and a
policy of three conditions is soon dearer than routing the request. A closure may therefore carry an attribute `render`
that writes the same test as Python source; `compile_choice` and `compile_all` put the sources together and compile
them once. A predicate without it is called, as ever.

Invariants: what is rendered says the same as the closure it belongs to; text of a configuration enters the source as a
literal (`repr` of a str) or as a name that stands for the object, never as source.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

_DEEPEST = 40  # levels of one expression: Python's own limit is 200 parentheses

Predicate = Callable[[Any], Any]
PredicateT = TypeVar("PredicateT", bound=Predicate)


class Source:
    """What the expressions of one function have in common: the objects they name, and their local names."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {}
        self._locals = 0
        self._depth = 0

    def constant(self, value: object) -> str:
        """Source for this very value."""
        if type(value) is str or type(value) is int:
            return repr(value)
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name

    def local(self) -> str:
        """A name that nothing else uses, to be bound with `:=`."""
        self._locals += 1
        return f"v{self._locals}"

    def test(self, predicate: Predicate, argument: str) -> str:
        """Source for `predicate(argument)`, in parentheses. argument: source that may be evaluated more than once."""
        render: Callable[[str, Source], str] | None = getattr(predicate, "render", None)
        if render is None or self._depth >= _DEEPEST:
            return f"{self.constant(predicate)}({argument})"
        self._depth += 1
        written = render(argument, self)
        self._depth -= 1
        return f"({written})"


def inlined(predicate: PredicateT, render: Callable[[str, Source], str]) -> PredicateT:
    """`predicate`, which can be written into the place where it is asked."""
    predicate.render = render  # type: ignore[attr-defined]  # a function takes any attribute
    return predicate


def compile_choice(choices: Sequence[tuple[Predicate, Any]], default: Any) -> Callable[[Any], Any]:
    """A function that gives the value of the first of `choices` whose predicate holds for its argument."""
    source = Source()
    lines = [
        f" if {source.test(predicate, 'value')}: return {source.constant(result)}\n" for predicate, result in choices
    ]
    text = f"def choose(value):\n{''.join(lines)} return {source.constant(default)}\n"
    exec(compile(text, "<inlined predicates>", "exec"), source.names)
    chosen: Callable[[Any], Any] = source.names["choose"]
    return chosen


def compile_all(predicates: Sequence[Predicate]) -> Callable[[Any], bool]:
    """Whether all of them hold."""
    source = Source()
    tests = " and ".join([source.test(predicate, "value") for predicate in predicates])
    text = f"def holds(value):\n return True if {tests or 'True'} else False\n"
    exec(compile(text, "<inlined predicates>", "exec"), source.names)
    holds: Callable[[Any], bool] = source.names["holds"]
    return holds
