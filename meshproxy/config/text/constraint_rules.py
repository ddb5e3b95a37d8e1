"""One field's rules (`validate.FieldRules`) to one function that finds its faults, worded as Envoy words them.

A check takes the field's value and returns pairs of an index (`[2]`, `["key"]`, or "" for the value itself) and a
message. SUPPORTED lists every rule enforced; those of Envoy's API are all in it, which a test compares.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import re2

Faults = Iterable[tuple[str, str]]
Check = Callable[[Any], Faults]
_Test = Callable[[Any], str | None]  # one value to its fault

_NONE: Faults = ()
_NUMBERS = (
    *("float", "double", "int32", "int64", "uint32", "uint64", "sint32", "sint64"),
    *("fixed32", "fixed64", "sfixed32", "sfixed64"),
)
_NUMBER_RULES = ("const", "lt", "lte", "gt", "gte", "in", "not_in", "ignore_empty")
_TEXT_RULES = (
    *("const", "len", "min_len", "max_len", "len_bytes", "min_bytes", "max_bytes", "pattern", "prefix", "suffix"),
    *("contains", "not_contains", "in", "not_in", "ignore_empty"),
)
SUPPORTED = frozenset(
    {f"{number}.{rule}" for number in _NUMBERS for rule in _NUMBER_RULES}
    | {f"string.{rule}" for rule in (*_TEXT_RULES, "well_known_regex", "strict")}
    | {f"bytes.{rule}" for rule in _TEXT_RULES if not rule.endswith("_bytes")}
    | {f"duration.{rule}" for rule in ("required", "const", "lt", "lte", "gt", "gte", "in", "not_in")}
    | {"bool.const", "enum.const", "enum.defined_only", "enum.in", "enum.not_in"}
    | {"message.required", "message.skip", "any.required", "any.in", "any.not_in"}
    | {f"repeated.{rule}" for rule in ("min_items", "max_items", "unique", "items", "ignore_empty")}
    | {f"map.{rule}" for rule in ("min_pairs", "max_pairs", "keys", "values", "ignore_empty")}
)

# validate.proto, KnownRegex; the strict forms are RFC 9110's.
_HEADER_NAME = r"^:?[0-9a-zA-Z!#$%&'*+-.^_|~`]+$"
_HEADER_VALUE = "^[^\x00-\x08\x0a-\x1f\x7f]*$"
_HEADER_LOOSE = "^[^\x00\x0a\x0d]*$"


def check_for_field(field: Any, rules: Any) -> Check | None:
    """The check of a field; None when its rules demand nothing of the value."""
    kind = rules.WhichOneof("type")
    if kind == "repeated":
        return _repeated_check(field, rules.repeated)
    if kind == "map":
        return _map_check(field, rules.map)
    test = _test_of(field, kind, rules)
    if test is None:
        return None
    if field.message_type is not None and field.message_type.name.endswith("Value"):
        return lambda wrapper: [("", fault)] if (fault := test(wrapper.value)) else _NONE
    return lambda value: [("", fault)] if (fault := test(value)) else _NONE


def _test_of(field: Any, kind: str | None, rules: Any) -> _Test | None:
    """The test of one value for the rules of one type."""
    if kind is None:
        return None
    of_type = getattr(rules, kind)
    tests: list[_Test] = []
    if kind in _NUMBERS:
        tests = [*_range_tests(of_type, lambda limit: limit, _number), *_set_tests(of_type, lambda value: value)]
    elif kind == "duration":
        tests = [*_range_tests(of_type, _nanoseconds, _seconds), *_set_tests(of_type, _nanoseconds)]
    elif kind in ("string", "bytes"):
        tests = [*_length_tests(of_type), *_content_tests(of_type), *_set_tests(of_type, lambda value: value)]
    elif kind == "bool" and of_type.HasField("const"):
        wanted = of_type.const
        tests = [lambda value: None if value == wanted else f"value must equal {str(wanted).lower()}"]
    elif kind == "enum":
        tests = [*_enum_tests(field.enum_type, of_type), *_set_tests(of_type, lambda value: value)]
    elif kind == "any":
        tests = _set_tests(of_type, lambda value: value if isinstance(value, str) else value.type_url)
    if not tests:
        return None
    test = _all_of(tests)
    if getattr(of_type, "ignore_empty", False):
        return lambda value: test(value) if value else None
    return test


def _all_of(tests: list[_Test]) -> _Test:
    if len(tests) == 1:
        return tests[0]

    def first_fault(value: Any) -> str | None:
        return next((fault for test in tests if (fault := test(value))), None)

    return first_fault


def _number(limit: float) -> str:
    return f"{limit:g}" if isinstance(limit, float) else str(limit)


def _nanoseconds(duration: Any) -> int:
    return int(duration.seconds * 1_000_000_000 + duration.nanos)


def _seconds(nanoseconds: float) -> str:
    return f"{nanoseconds / 1e9:g}s"


def _range_tests(rules: Any, measure: Callable[[Any], Any], show: Callable[[Any], str]) -> list[_Test]:
    """Limits. With an upper below the lower one they mean the outside (protoc-gen-validate)."""
    if rules.HasField("const"):
        wanted = measure(rules.const)
        return [lambda value: None if measure(value) == wanted else f"value must equal {show(wanted)}"]
    low_name = next((name for name in ("gt", "gte") if rules.HasField(name)), None)
    high_name = next((name for name in ("lt", "lte") if rules.HasField(name)), None)
    low = measure(getattr(rules, low_name)) if low_name else None
    high = measure(getattr(rules, high_name)) if high_name else None
    if low is not None and high is not None:
        return [_between(low, low_name == "gte", high, high_name == "lte", measure, show)]
    if low is not None:
        if low_name == "gte":
            return [_limit(lambda number: number >= low, f"greater than or equal to {show(low)}", measure)]
        return [_limit(lambda number: number > low, f"greater than {show(low)}", measure)]
    if high is not None:
        if high_name == "lte":
            return [_limit(lambda number: number <= high, f"less than or equal to {show(high)}", measure)]
        return [_limit(lambda number: number < high, f"less than {show(high)}", measure)]
    return []


def _limit(holds: Callable[[Any], bool], wording: str, measure: Callable[[Any], Any]) -> _Test:
    return lambda value: None if holds(measure(value)) else f"value must be {wording}"


def _between(
    low: Any, with_low: bool, high: Any, with_high: bool, measure: Callable[[Any], Any], show: Callable[[Any], str]
) -> _Test:
    outside = high < low
    if outside:
        wording = f"outside range {'(' if with_high else '['}{show(high)}, {show(low)}{')' if with_low else ']'}"
    else:
        wording = f"inside range {'[' if with_low else '('}{show(low)}, {show(high)}{']' if with_high else ')'}"

    def test(value: Any) -> str | None:
        number = measure(value)
        above = number >= low if with_low else number > low
        below = number <= high if with_high else number < high
        return None if ((above or below) if outside else (above and below)) else f"value must be {wording}"

    return test


def _set_tests(rules: Any, measure: Callable[[Any], Any]) -> list[_Test]:
    tests: list[_Test] = []
    allowed = [measure(value) for value in getattr(rules, "in")]
    denied = [measure(value) for value in rules.not_in]
    if allowed:
        listed = ", ".join(str(value) for value in allowed)
        tests.append(lambda value: None if measure(value) in allowed else f"value must be in list [{listed}]")
    if denied:
        unwanted = ", ".join(str(value) for value in denied)
        tests.append(lambda value: f"value must not be in list [{unwanted}]" if measure(value) in denied else None)
    return tests


def _enum_tests(enum: Any, rules: Any) -> list[_Test]:
    tests: list[_Test] = []
    if rules.defined_only:
        known = frozenset(value.number for value in enum.values)
        tests.append(lambda value: None if value in known else "value must be one of the defined enum values")
    if rules.HasField("const"):
        wanted = rules.const
        tests.append(lambda value: None if value == wanted else f"value must equal {wanted}")
    return tests


def _length_tests(rules: Any) -> list[_Test]:
    """Lengths: of a string in characters (`*_len`) or UTF-8 bytes (`*_bytes`), of bytes in bytes."""
    tests: list[_Test] = []
    text = hasattr(rules, "min_bytes")
    unit = "characters" if text else "bytes"
    names: dict[str, tuple[str, Callable[[Any], int], str]]
    names = {"len": ("", len, unit), "min_len": ("at least ", len, unit), "max_len": ("at most ", len, unit)}
    if text:
        names |= {"len_bytes": ("", _bytes, "bytes"), "min_bytes": ("at least ", _bytes, "bytes")}
        names |= {"max_bytes": ("at most ", _bytes, "bytes")}
    for name, (bound, measure, of) in names.items():
        if rules.HasField(name):
            tests.append(_length_test(bound, measure, of, getattr(rules, name)))
    return tests


def _bytes(text: str) -> int:
    return len(text.encode())


def _length_test(bound: str, measure: Callable[[Any], int], unit: str, limit: int) -> _Test:
    fault = f"value length must be {bound}{limit} {unit}"
    if bound == "at least ":
        return lambda value: None if measure(value) >= limit else fault
    if bound == "at most ":
        return lambda value: None if measure(value) <= limit else fault
    return lambda value: None if measure(value) == limit else fault


def _content_tests(rules: Any) -> list[_Test]:
    tests: list[_Test] = []
    if rules.HasField("const"):
        tests.append(_content(rules.const, lambda value, part: value == part, "value must equal"))
    if rules.HasField("prefix"):
        tests.append(_content(rules.prefix, lambda value, part: value.startswith(part), "value does not have prefix"))
    if rules.HasField("suffix"):
        tests.append(_content(rules.suffix, lambda value, part: value.endswith(part), "value does not have suffix"))
    if rules.HasField("contains"):
        tests.append(_content(rules.contains, lambda value, part: part in value, "value does not contain substring"))
    if hasattr(rules, "not_contains") and rules.HasField("not_contains"):
        tests.append(_content(rules.not_contains, lambda value, part: part not in value, "value contains substring"))
    if hasattr(rules, "well_known_regex") and rules.well_known_regex:
        name = rules.well_known_regex == 1
        tests.append(_well_known_test((_HEADER_NAME if name else _HEADER_VALUE) if rules.strict else _HEADER_LOOSE))
    elif rules.pattern:
        tests.append(_pattern_test(rules.pattern))
    return tests


def _content(part: Any, holds: Callable[[Any, Any], bool], wording: str) -> _Test:
    return lambda value: None if holds(value, part) else f"{wording} {part!r}"


def _pattern_test(pattern: str) -> _Test:
    search = re2.compile(pattern).search
    fault = _mismatch(pattern)
    return lambda value: None if search(value) else fault


def _well_known_test(pattern: str) -> _Test:
    """One of the patterns above, with `re`: it is many times as fast, and a class of characters never goes back."""
    matches = re.compile(pattern[1:-1]).fullmatch
    fault = _mismatch(pattern)
    return lambda value: None if matches(value) else fault


def _mismatch(pattern: str) -> str:
    return f"value does not match regex pattern '{pattern.encode('unicode_escape').decode()}'"


def _repeated_check(field: Any, rules: Any) -> Check | None:
    low, high = rules.min_items, rules.max_items if rules.HasField("max_items") else None
    unique, ignore_empty = rules.unique, rules.ignore_empty
    element = _test_of(field, rules.items.WhichOneof("type"), rules.items)
    if not low and high is None and not unique and element is None:
        return None

    def check(values: Any) -> Faults:
        size = len(values)
        if not size and ignore_empty:
            return _NONE
        if size < low:
            return [("", f"value must contain at least {low} item(s)")]
        if high is not None and size > high:
            return [("", f"value must contain no more than {high} item(s)")]
        faults = []
        if unique and len(set(values)) != size:
            faults.append(("", "repeated value must contain unique items"))
        if element is not None:
            faults += [(f"[{index}]", fault) for index, value in enumerate(values) if (fault := element(value))]
        return faults

    return check


def _map_check(field: Any, rules: Any) -> Check:
    low, high = rules.min_pairs, rules.max_pairs if rules.HasField("max_pairs") else None
    entry = field.message_type.fields_by_name
    key_test = _test_of(entry["key"], rules.keys.WhichOneof("type"), rules.keys)
    value_test = _test_of(entry["value"], rules.values.WhichOneof("type"), rules.values)
    ignore_empty = rules.ignore_empty

    def check(pairs: Any) -> Faults:
        if not pairs and ignore_empty:
            return _NONE
        if len(pairs) < low:
            return [("", f"value must contain at least {low} pair(s)")]
        if high is not None and len(pairs) > high:
            return [("", f"value must contain no more than {high} pair(s)")]
        faults = []
        for key in pairs:
            if key_test is not None and (fault := key_test(key)):
                faults.append((f'["{key}"]', f"key: {fault}"))
            if value_test is not None and (fault := value_test(pairs[key])):
                faults.append((f'["{key}"]', fault))
        return faults

    return check
