"""The layers of a running program: disks, the administrator's, discovered ones, and what is told of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from meshproxy.config.bootstrap.runtime_layers import struct_entries
from meshproxy.model.runtime_layer import RuntimeLayer, values_of
from meshproxy.runtime.admin.message import AdminRequest
from meshproxy.runtime.admin.runtime_values import modify, render
from meshproxy.runtime.process.layered_runtime import LayeredRuntime
from meshproxy.runtime_values import RuntimeValues
from meshproxy.telemetry.stats import StatsStore
from meshproxy.testing.environment import RecordingLog


def _fail(text: str) -> Any:
    raise AssertionError(text)


class Rig:
    """A runtime of some layers, and all that it told."""

    def __init__(self, *layers: RuntimeLayer) -> None:
        self.store = StatsStore()
        self.values = RuntimeValues(values_of([layer.entries for layer in layers]))
        self.told: list[dict[str, Any]] = []
        self.log = RecordingLog()
        self.runtime = LayeredRuntime(layers, self.values, self.store.scope("runtime."), self.log, self.told.append)

    def post(self, body: str = "", **parameters: str) -> tuple[int, object]:
        response = modify(self.runtime, AdminRequest("POST", "/runtime_modify", parameters, body.encode(), form=True))
        return response.status, response.body

    def statistics(self) -> dict[str, int]:
        snapshot = self.store.snapshot()
        counters = {name: value for name, (value, *_) in snapshot.counters.items()}
        gauges = {name: value for name, (value, *_) in snapshot.gauges.items()}
        return {name.removeprefix("runtime."): value for name, value in {**counters, **gauges}.items()}


def static(**values: Any) -> RuntimeLayer:
    return RuntimeLayer("static", "static", struct_entries(values, _fail))


def test_the_administrator_overrides_and_takes_back() -> None:
    rig = Rig(static(a=1, b={"c": 2}), RuntimeLayer("admin", "admin"))
    assert rig.post(a="5", z="true") == (200, "OK\n")
    assert dict(rig.values) == {"a": 5, "b.c": 2, "z": True}
    assert rig.told == [dict(rig.values)]
    assert rig.statistics()["admin_overrides_active"] == 1
    shown = json.loads(render(rig.runtime))
    assert shown["layers"] == ["static", "admin"]
    assert shown["entries"]["a"] == {"layer_values": ["1", "5"], "final_value": "5"}
    assert shown["entries"]["b.c"] == {"layer_values": ["2", ""], "final_value": "2"}
    assert rig.post(a="", z="") == (200, "OK\n")
    assert dict(rig.values) == {"a": 1, "b.c": 2}
    assert rig.statistics()["admin_overrides_active"] == 0


def test_values_of_a_form_count_without_a_query() -> None:
    rig = Rig(RuntimeLayer("admin", "admin"))
    assert rig.post("a=%7Bnumerator:%202%7D&b=1")[0] == 200
    assert dict(rig.values) == {"a": {"numerator": 2}, "b": 1}
    rig.post("a=3", b="4")
    assert dict(rig.values) == {"a": {"numerator": 2}, "b": 4}


def test_what_the_administrator_cannot_do() -> None:
    rig = Rig(static(a=1))
    assert rig.post()[0] == 400
    assert rig.post(a="2") == (503, "No admin layer specified")
    rig = Rig(RuntimeLayer("admin", "admin"))
    status, text = rig.post(a="2", b="{")
    assert (status, "not valid YAML" in str(text)) == (503, True)
    assert dict(rig.values) == {}


def test_a_directory_is_a_layer(tmp_path: Path) -> None:
    files = {"health/min": "7\n", "share": "# c\n{numerator: 5, denominator: MILLION}\n", "on": "true"}
    for name, text in files.items():
        path = tmp_path / "v1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "v2").mkdir()
    (tmp_path / "v2" / "on").write_text("false")
    link = tmp_path / "current"
    link.symlink_to("v1")
    rig = Rig(static(on=True), RuntimeLayer("disk", "disk", directory=str(link), link=str(link)))
    assert dict(rig.values) == {"on": True, "health.min": 7, "share": {"numerator": 5, "denominator": "MILLION"}}
    fresh = tmp_path / "fresh"
    fresh.symlink_to("v2")
    fresh.replace(link)
    rig.runtime.load()
    assert dict(rig.values) == {"on": False}


def test_a_directory_that_is_bad_or_missing(tmp_path: Path) -> None:
    link = tmp_path / "current"
    rig = Rig(static(a=1), RuntimeLayer("disk", "disk", directory=str(link), link=str(link)))
    before = rig.statistics()
    assert (before["num_layers"], before.get("load_error", 0), before["load_success"]) == (1, 0, 2)
    link.mkdir()
    (link / "a").write_text("{")
    rig.runtime.load()
    assert dict(rig.values) == {"a": 1}
    assert rig.statistics().get("load_error") == 1
    assert "not valid YAML" in str(rig.log.events)
    (link / "a").write_text("9")
    rig.runtime.load()
    assert dict(rig.values) == {"a": 9}
    assert rig.statistics()["num_layers"] == 2


def test_a_directory_in_itself_ends(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path)
    rig = Rig(RuntimeLayer("disk", "disk", directory=str(tmp_path), link=str(tmp_path)))
    assert rig.statistics().get("load_error") == 1


def test_discovered_layers_keep_their_place() -> None:
    rig = Rig(static(a=1, b=1), RuntimeLayer("r1", "rtds"), RuntimeLayer("r2", "rtds"), RuntimeLayer("admin", "admin"))
    rig.runtime.discovered("r2", struct_entries({"a": 3}, _fail))
    rig.runtime.discovered("r1", struct_entries({"a": 2, "b": 2}, _fail))
    assert dict(rig.values) == {"a": 3, "b": 2}
    rig.runtime.discovered("r2", {})
    assert dict(rig.values) == {"a": 2, "b": 2}
