import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshproxy.config.text.yaml_tree import MAX_DEPTH, compose, is_null, is_quoted, json_value, plain_value
from meshproxy.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(word, True) for word in ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON")],
        *[(word, False) for word in ("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF")],
        *[
            (word, word)
            for word in ("yEs", "tRUE", "oN", "nULL", "1_000", "0o10", "0b1", "08", "1.5", "1e3", "+", "-x")
        ],
        *[(word, None) for word in ("", "~", "null", "Null", "NULL")],
        ("0", 0),
        ("-0", 0),
        ("+5", 5),
        ("010", 8),
        ("-0x1F", -31),
        ("2147483647", 2**31 - 1),
        ("-2147483648", -(2**31)),
        ("2147483648", "2147483648"),
        ("0xFFFFFFFFFF", "1099511627775"),
        ("99999999999999999999", "99999999999999999999"),
    ],
)
def test_plain_scalars_are_what_they_are_to_envoy(text: str, value: object) -> None:
    found = plain_value(text)
    assert (type(found), found) == (type(value), value)


def test_json_scalars_are_json_only() -> None:
    assert [json_value(text) for text in ("true", "false", "null", "-1", "1.5", "1e3")] == [
        True,
        False,
        None,
        -1,
        1.5,
        1e3,
    ]
    for text in ("n", "010", "0x1", "+1", ".5", "NaN", "", "True"):
        with pytest.raises(ValueError, match="not a JSON value"):
            json_value(text)


def test_quoted_scalars_are_marked() -> None:
    root = compose("a: n\nb: 'n'\nc: |\n  n\ne: !!str n\nf: ~\ng: '~'\n", "x")
    nodes = {key.value: value for key, value in root.value}
    assert [name for name, node in nodes.items() if is_quoted(node)] == ["b", "c", "g"]
    assert [name for name, node in nodes.items() if is_null(node)] == ["f"]


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "? " * 100_000,
        "a: " + "[" * 100_000 + "]" * 100_000,
        "".join(" " * depth + "a:\n" for depth in range(2_000)),
    ],
    ids=["lists", "mappings", "block lists", "keys", "closed lists", "block mappings"],
)
def test_deep_nesting_is_an_error_and_a_quick_one(text: str) -> None:
    start = time.process_time()
    with pytest.raises(ConfigError, match=f"more than {MAX_DEPTH} levels of nesting"):
        compose(text, "x")
    assert time.process_time() - start < 2  # libyaml alone takes most of a minute


def test_json_surrogate_pairs_are_one_character() -> None:
    root = compose(r'{"a": "\ud83d\ude00", "b": "\\ud83d\\ude00", "c": "\/"}', "x")
    assert [value.value for _, value in root.value] == ["\U0001f600", r"\ud83d\ude00", "/"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a:\n  b: c\n  p", "could not find expected"),  # libyaml finds fault behind the last line
        ("a:\n\tb: c\n", "a tab, where only spaces may indent"),
    ],
)
def test_what_libyaml_marks_is_told(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose(text, "x")


@given(st.text(alphabet=st.sampled_from("ab:,-[]{}&*!|>'\"#%@` \n\t?~1\\u\x00\ud800é"), max_size=80))
def test_any_text_is_a_tree_or_a_config_error(text: str) -> None:
    with suppress(ConfigError):
        compose(text, "x")
