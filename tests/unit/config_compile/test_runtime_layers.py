"""Layers of the runtime: what is read of each kind, and what the values in them are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from meshproxy.config.bootstrap.runtime_layers import layer_of, without_comments, yaml_entry
from meshproxy.errors import ConfigError
from meshproxy.messages.by_name import message_class
from meshproxy.model.discovery import Resource

from .compiling import compile_text, make_context, problems_of


def _runtime(layers: str) -> str:
    return f"node: {{id: me, cluster: shop}}\nlayered_runtime: {{layers: {layers}}}"


def _entries(text: str) -> dict[str, tuple[Any, str]]:
    (layer,) = compile_text(_runtime(f"[{{name: s, static_layer: {text}}}]")).layers
    return {key: (entry.value, entry.text) for key, entry in layer.entries.items()}


def test_a_static_layer() -> None:
    entries = _entries(
        "{a: {b: 1, c: {numerator: 3}, e: {}}, x.y: 2, t: true, s: 'true', n: ' 12 ', d: '1.5', m: 1000000, w: word}"
    )
    struct = entries.pop("a.c")
    assert struct[0] == {"numerator": 3}
    assert 'key: "numerator"' in struct[1]
    assert entries == {
        "a.b": (1, "1"),
        "a.e": ({}, ""),
        "x.y": (2, "2"),
        "t": (True, "true"),
        "s": ("true", "true"),  # a text is no flag
        "n": (12, " 12 "),
        "d": (1.5, "1.5"),
        "m": (1_000_000, "1e+06"),
        "w": ("word", "word"),
    }


@pytest.mark.parametrize("value", ["[1]", "null"])
def test_what_is_no_value(value: str) -> None:
    (problem,) = problems_of(_runtime(f"[{{name: s, static_layer: {{a: {{b: {value}}}}}}}]"))
    assert "Invalid runtime entry value for a.b" in problem


def test_a_later_layer_wins() -> None:
    context = make_context()
    compile_text(_runtime("[{name: a, static_layer: {x: 1, y: 1}}, {name: b, static_layer: {x: 2}}]"), context)
    assert dict(context.runtime) == {"x": 2, "y": 1}


@pytest.mark.parametrize(
    ("layers", "problem"),
    [
        ("[{name: a, static_layer: {}}, {name: a, static_layer: {}}]", "duplicate layer name: a"),
        ("[{name: a, admin_layer: {}}, {name: b, admin_layer: {}}]", "Too many admin layers"),
        ("[{name: a, rtds_layer: {rtds_config: {ads: {}}}}]", "'ads' needs dynamic_resources.ads_config"),
    ],
)
def test_layers_that_do_not_go_together(layers: str, problem: str) -> None:
    assert any(problem in each for each in problems_of(_runtime(layers)))


def test_layers_that_change(tmp_path: Path) -> None:
    source = tmp_path / "rtds.yaml"
    source.write_text("{}")
    context = make_context()
    snapshot = compile_text(
        _runtime(
            "[{name: d, disk_layer: {symlink_root: /tmp/r, subdirectory: sub, append_service_cluster: true}}, "
            f"{{name: r, rtds_layer: {{name: res, rtds_config: {{path_config_source: {{path: {source}}}}}}}}}, "
            "{name: a, admin_layer: {}}]"
        ),
        context,
    )
    disk, rtds, admin = snapshot.layers
    assert (disk.directory, disk.link) == ("/tmp/r/sub/shop", "/tmp/r")
    assert rtds.source is not None
    assert (rtds.resource, rtds.source.path) == ("res", str(source))
    assert admin.kind == "admin"
    assert not context.runtime.fixed


def test_a_runtime_without_layers_has_one_for_the_administrator() -> None:
    (layer,) = compile_text("layered_runtime: {}").layers
    assert (layer.name, layer.kind) == ("", "admin")
    context = make_context()
    assert compile_text("{}", context).layers == ()
    assert context.runtime.fixed


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("on", True),
        ("5", 5),
        ("1.5", 1.5),
        ('"3"', "3"),  # a quoted text is one, whatever stands in it
        ("{numerator: 7, denominator: MILLION}", {"numerator": 7, "denominator": "MILLION"}),
        ("some words", "some words"),
        ("[1, 2]", ""),
        ("~", ""),
        ("", ""),
    ],
)
def test_values_in_yaml(text: str, value: Any) -> None:
    entry = yaml_entry(text)
    assert (entry.value, entry.text) == (value, text)


@pytest.mark.parametrize("text", ["{a", "[", "a: b: c", "&a [*a]", "\0"])
def test_what_is_no_yaml(text: str) -> None:
    with pytest.raises(ConfigError):
        yaml_entry(text)


def test_comments_of_a_file() -> None:
    assert without_comments("# why\n7 \n# more\n") == "7"
    assert without_comments("a\n\nb\n") == "a\nb"


def test_a_layer_from_discovery() -> None:
    kind = message_class("envoy.service.runtime.v3.Runtime")
    assert kind is not None
    message: Any = kind(name="r")
    message.layer.update({"a": {"b": 1.0}})
    assert {key: entry.value for key, entry in layer_of(Resource("r", "", message)).items()} == {"a.b": 1}
    message.layer.update({"bad": [1]})
    with pytest.raises(ConfigError, match="Invalid runtime entry value for bad"):
        layer_of(Resource("r", "", message))
