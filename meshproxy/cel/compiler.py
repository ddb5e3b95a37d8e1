"""The tree of an expression to a closure: `StreamInfo` in, value out.

Everything that the expression settles is settled here: functions are looked up, constant parts are evaluated,
attributes become one call, constant regular expressions are compiled. What is left at run time is a call for each node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshproxy.cel.attributes import UNSUPPORTED, Attributes
from meshproxy.cel.functions import BUILTIN, Function, Overload, Overloads
from meshproxy.cel.nodes import Call, Constant, ExpressionError, ListOf, MapOf, Name, Node, Select
from meshproxy.cel.patterns import compile_pattern
from meshproxy.cel.text_functions import CONCATENATION, CONVERSION, TEXT_FUNCTIONS
from meshproxy.cel.values import MISSING, NAMED_TYPES, CelMap, EvaluationError, ValueMap
from meshproxy.records import dataclass

Evaluate = Callable[[Any], Any]
"""From the stream to a value. Raises EvaluationError when there is none."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `CelExpressionConfig` switches on: `string(x)`, `+` of texts, and the library of text functions."""

    conversion: bool = False
    concatenation: bool = False
    text_functions: bool = False

    def overloads(self) -> Overloads:
        """All functions that there are with these options."""
        found = {**BUILTIN}
        for wanted, more in (
            (self.conversion, CONVERSION),
            (self.concatenation, CONCATENATION),
            (self.text_functions, TEXT_FUNCTIONS),
        ):
            if wanted:
                found |= more
        return found


def compile_node(node: Node, attributes: Attributes, options: Options) -> Evaluate:
    """Raises ExpressionError for a function that isn't there, or a bad constant regular expression."""
    return _Compiler(attributes, options.overloads()).compile(node)


def as_predicate(evaluate: Evaluate) -> Callable[[Any], bool]:
    """Whether the expression is true; an error, or a value that is no boolean, is false."""

    def holds(info: Any) -> bool:
        try:
            return evaluate(info) is True
        except EvaluationError:
            return False

    return holds


def value_or_missing(evaluate: Evaluate) -> Evaluate:
    """The value of the expression; `MISSING` where there is none."""

    def value(info: Any) -> Any:
        try:
            return evaluate(info)
        except EvaluationError:
            return MISSING

    return value


class _Known:
    """A closure whose value is known already."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, info: Any) -> Any:
        return self.value


class _Compiler:
    def __init__(self, attributes: Attributes, overloads: Overloads) -> None:
        self._attributes = attributes
        self._overloads = overloads

    def compile(self, node: Node) -> Evaluate:
        match node:
            case Constant(value):
                return _Known(value)
            case Name(name):
                return self._name(name)
            case Select():
                return self._select(node)
            case ListOf(items):
                return _list_of([self.compile(item) for item in items])
            case MapOf(entries):
                return _map_of([(self.compile(key), self.compile(value)) for key, value in entries])
            case Call():
                return self._call(node)

    def _name(self, name: str) -> Evaluate:
        if name in NAMED_TYPES:
            return _Known(NAMED_TYPES[name])
        return _required(self._attributes.root(name), name)

    def _select(self, node: Select) -> Evaluate:
        if isinstance(node.operand, Name):
            self._refuse_unsupported(node.operand.name, node.field)
            getter = self._attributes.getter(node.operand.name, node.field)
            if getter is not None:
                return _presence(getter) if node.only_test else _required(getter, f"{node.operand.name}.{node.field}")
        header = self._header(node.operand, node.field)
        if header is not None:
            return _presence(header) if node.only_test else _required(header, node.field)
        operand = self.compile(node.operand)
        return _tested(operand, node.field) if node.only_test else _selected(operand, node.field)

    def _refuse_unsupported(self, name: str, attribute: str) -> None:
        reason = UNSUPPORTED.get((name, attribute))
        if reason:
            raise ExpressionError(f"the attribute {name}.{attribute} isn't supported by meshproxy: {reason}")

    def _header(self, operand: Node, key: Any) -> Evaluate | None:
        """The getter of `request.headers[key]` and its like."""
        if type(key) is not str or not isinstance(operand, Select) or operand.only_test:
            return None
        inner = operand.operand
        return self._attributes.header(inner.name, operand.field, key) if isinstance(inner, Name) else None

    def _call(self, node: Call) -> Evaluate:
        name, arguments = node.function, node.arguments
        if name in _CONTROL:
            return _CONTROL[name](*[self.compile(argument) for argument in arguments])
        if name == "_[_]" and isinstance(arguments[1], Constant):
            constant = self._constant_index(arguments[0], arguments[1].value)
            if constant is not None:
                return constant
        if node.target is not None:
            if isinstance(node.target, Name) and f"{node.target.name}.{name}" in self._overloads:
                name = f"{node.target.name}.{name}"  # a function of a namespace, such as `re.extract`
            else:
                return self._apply(name, self._overload(name, len(arguments) + 1, True), (node.target, *arguments))
        return self._apply(name, self._overload(name, len(arguments), False), arguments)

    def _constant_index(self, container: Node, key: Any) -> Evaluate | None:
        if isinstance(container, Name) and type(key) is str:
            self._refuse_unsupported(container.name, key)
            getter = self._attributes.getter(container.name, key)
            return None if getter is None else _required(getter, f"{container.name}.{key}")
        header = self._header(container, key)
        return None if header is None else _required(header, key)

    def _overload(self, name: str, arguments: int, method: bool) -> Overload:
        for overload in self._overloads.get(name, ()):
            if overload.arguments == arguments and (overload.method if method else overload.plain):
                return overload
        raise ExpressionError(f"there is no {'method' if method else 'function'} {name} with {arguments} arguments")

    def _apply(self, name: str, overload: Overload, nodes: tuple[Node, ...]) -> Evaluate:
        if name in ("matches", "re.extract", "re.capture", "re.captureN"):
            pattern = nodes[1]
            if isinstance(pattern, Constant) and type(pattern.value) is str:
                compile_pattern(pattern.value)
        return _applied(overload.call, [self.compile(node) for node in nodes])


def _required(getter: Evaluate | None, name: str) -> Evaluate:
    if getter is None:

        def unknown(info: Any) -> Any:
            raise EvaluationError(f"there is no {name}")

        return unknown

    def required(info: Any) -> Any:
        value = getter(info)
        if value is MISSING:
            raise EvaluationError(f"there is no {name}")
        return value

    return required


def _presence(getter: Evaluate) -> Evaluate:
    return lambda info: getter(info) is not MISSING


def _selected(operand: Evaluate, field: str) -> Evaluate:
    def selected(info: Any) -> Any:
        value = operand(info)
        found = value.find(field) if isinstance(value, CelMap) else MISSING
        if found is MISSING:
            raise EvaluationError(f"there is no field {field}")
        return found

    return selected


def _tested(operand: Evaluate, field: str) -> Evaluate:
    def tested(info: Any) -> bool:
        value = operand(info)
        if not isinstance(value, CelMap):
            raise EvaluationError(f"there is no field {field}")
        return value.has(field)

    return tested


def _applied(function: Function, arguments: list[Evaluate]) -> Evaluate:
    """The call of a function; of constants, its result."""
    if all(isinstance(argument, _Known) for argument in arguments):
        try:
            return _Known(function(*[argument(None) for argument in arguments]))
        except EvaluationError:
            pass  # it raises whenever it is evaluated
    if len(arguments) == 1:
        (only,) = arguments
        return lambda info: function(only(info))
    if len(arguments) == 2:
        first, second = arguments
        if isinstance(second, _Known):
            constant = second.value
            return lambda info: function(first(info), constant)
        return lambda info: function(first(info), second(info))
    return lambda info: function(*[argument(info) for argument in arguments])


def _list_of(items: list[Evaluate]) -> Evaluate:
    if all(isinstance(item, _Known) for item in items):
        return _Known(tuple([item(None) for item in items]))
    return lambda info: tuple([item(info) for item in items])


def _map_of(entries: list[tuple[Evaluate, Evaluate]]) -> Evaluate:
    def make(info: Any) -> ValueMap:
        made: dict[Any, Any] = {}
        for read_key, read_value in entries:
            key = read_key(info)
            if not isinstance(key, bool | int | str) or key in made:
                raise EvaluationError("a key of a map is of another type, or there twice")
            made[key] = read_value(info)
        return ValueMap(made)

    if all(isinstance(part, _Known) for entry in entries for part in entry):
        try:
            return _Known(make(None))
        except EvaluationError:
            pass
    return make


def _decisive(first: Evaluate, second: Evaluate, decides: bool) -> Evaluate:
    """`&&` (False decides) and `||` (True does): an operand that decides makes up for an error of the other."""

    def decide(info: Any) -> Any:
        error: EvaluationError | None = None
        for operand in (first, second):
            try:
                value = operand(info)
            except EvaluationError as raised:
                error = raised
                continue
            if value is decides:
                return decides
            if type(value) is not bool:
                error = EvaluationError("an operand of a logical operator is no boolean")
        if error is not None:
            raise error
        return not decides

    return decide


def _conditional(condition: Evaluate, positive: Evaluate, negative: Evaluate) -> Evaluate:
    def choose(info: Any) -> Any:
        value = condition(info)
        if value is True:
            return positive(info)
        if value is False:
            return negative(info)
        raise EvaluationError("a condition is no boolean")

    return choose


_CONTROL: dict[str, Callable[..., Evaluate]] = {
    "_&&_": lambda first, second: _decisive(first, second, False),
    "_||_": lambda first, second: _decisive(first, second, True),
    "_?_:_": _conditional,
}
