import json
import time
from pathlib import Path

import pytest

from meshproxy.config.text.bootstrap_load import Source, load_bootstrap, load_message, read_source
from meshproxy.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "data" / "envoy-configs"


def problems(*sources: Source, **options: bool) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_bootstrap(sources, **options)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("name", ["grpc-h2", "sidecar-inbound", "sidecar-outbound"])
def test_the_configurations_of_a_mesh_load(name: str) -> None:
    loaded = load_bootstrap([read_source(CONFIGS / f"{name}.yaml")])
    resources = loaded.view.view("static_resources")
    assert resources is not None
    assert resources.views("listeners")
    assert resources.views("clusters")


def test_a_later_source_is_merged_over_an_earlier_one() -> None:
    first = Source("a.yaml", "node: {id: a, cluster: c}\nstatic_resources:\n  clusters: [{name: one, type: STATIC}]\n")
    second = Source("b.yaml", "node: {id: b}\nstatic_resources:\n  clusters:\n  - {name: two, typ: STATIC}\n")
    assert problems(first, second) == ["b.yaml:4:17: clusters[0]: no field 'typ' in Cluster; did you mean 'type'?"]
    view = load_bootstrap([first, Source("b.yaml", second.text.replace("typ:", "type:"))]).view
    node, resources = view.required("node"), view.required("static_resources")
    assert (node.text("id"), node.text("cluster")) == ("b", "c")
    assert [cluster.text("name") for cluster in resources.views("clusters")] == ["one", "two"]
    assert str(resources.views("clusters")[1].error("no", "name")) == "b.yaml:4:6: clusters[1].name: no"
    assert str(resources.views("clusters")[0].error("no", "name")) == "a.yaml:3:15: clusters[0].name: no"
    assert str(node.error("no", "id")) == "b.yaml:1:8: node.id: no"
    assert str(node.error("no", "cluster")) == "a.yaml:1:15: node.cluster: no"


def test_rules_are_checked_on_the_merged_whole() -> None:
    partial = Source("a.yaml", "overload_manager: {refresh_interval: 1s}\n")
    assert problems(partial) == [
        "a.yaml:1:1: overload_manager.resource_monitors: value must contain at least 1 item(s)"
    ]
    load_bootstrap([partial, Source("b.yaml", "overload_manager: {resource_monitors: [{name: heap}]}\n")])


def test_the_faults_of_all_sources_come_at_once() -> None:
    found = problems(Source("b.yaml", "node: {idd: x}\n"), Source("a.yaml", "node: {id: x\n"), Source("c.yaml", "[]"))
    assert [line.partition(":")[0] for line in found] == ["a.yaml", "b.yaml", "c.yaml"]


def test_no_source_is_an_error() -> None:
    assert problems() == ["no configuration is given"]


def test_json_is_read_as_json() -> None:
    text = json.dumps({"node": {"id": "n", "metadata": {"a": 1.5, "b": 2**40, "c": "1"}}})
    node = load_bootstrap([Source("x.json", text, json=True)]).view.required("node")
    metadata = node.struct("metadata")
    assert metadata is not None
    assert metadata.value == {"a": 1.5, "b": 2**40, "c": "1"}
    assert problems(Source("x.json", '{"node": {"id": n}}', json=True)) == [
        "x.json:1:17: node.id: 'n' is not a JSON value"
    ]
    assert problems(Source("x.json", '{"node": {"id": 1.5}}', json=True)) == [
        "x.json:1:17: node.id: a string is expected, not 1.5; quote it"
    ]


def test_files_of_other_names_are_json(tmp_path: Path) -> None:
    path = tmp_path / "envoy-rev"
    path.write_text('{"node":{"id":"n"}}')
    assert read_source(path).json
    assert load_bootstrap([read_source(path)]).view.required("node").text("id") == "n"
    path.write_text('node:\n  id: "n"\n')
    assert problems(read_source(path)) == [f"{path}:1:1: not JSON: '{{' is expected (YAML is in files .yaml)"]


def test_yaml_numbers_beyond_32_bits_are_strings_in_a_struct() -> None:
    source = Source("x.yaml", "node: {metadata: {a: 1.5, b: 4294967296, c: 5, d: no, e: [~, x]}}\n")
    metadata = load_bootstrap([source]).view.required("node").struct("metadata")
    assert metadata is not None
    assert metadata.value == {"a": "1.5", "b": "4294967296", "c": 5, "d": False, "e": [None, "x"]}
    assert str(metadata.error("no", "e", 1)) == "x.yaml:1:62: node.metadata.e[1]: no"


def test_unknown_fields_can_be_let_through_with_a_warning() -> None:
    source = Source("x.yaml", "node: {id: a, idd: b}\n")
    loaded = load_bootstrap([source], allow_unknown_fields=True)
    assert [str(warning) for warning in loaded.warnings] == [
        "x.yaml:1:15: node: no field 'idd' in Node; did you mean 'id'?"
    ]


def test_deprecated_fields_are_warnings() -> None:
    loaded = load_bootstrap([read_source(CONFIGS / "sidecar-outbound.yaml")])
    assert any("max_grpc_timeout' is deprecated" in str(warning) and warning.line for warning in loaded.warnings)


@pytest.mark.parametrize(
    "text",
    [
        "node: {metadata: &a {a: *a}}\n",
        "a0: &a0 [x]\n"
        + "".join(f"!ignore a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 300))
        + "node: {metadata: {a: *a299}}\n",
        "!ignore a0: &a0 [x, x]\n"
        + "".join(f"!ignore a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
        + "node: {metadata: {a: *a39}}\n",
    ],
    ids=["endless struct", "long chain", "exponential"],
)
def test_aliases_cannot_make_the_input_endless(text: str) -> None:
    start = time.process_time()
    assert any("levels of nesting" in line or "aliases expanded" in line for line in problems(Source("x.yaml", text)))
    assert time.process_time() - start < 20


def test_a_message_in_itself_is_an_error() -> None:
    with pytest.raises(ConfigError, match="levels of nesting"):
        load_message("envoy.config.rbac.v3.Permission", [Source("x.yaml", "not_rule: &a {not_rule: *a}\n")])


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            read_source(path)
        return str(caught.value)

    assert "No such file" in refused(tmp_path / "none.yaml")
    assert "No such file" in refused(tmp_path / "none.pb")
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"node:\n  id: caf\xe9\n")
    assert refused(path) == f"{path}:2:10: not UTF-8"
    path.write_bytes(b"\xef\xbb\xbfnode: {id: a}\n")
    assert load_bootstrap([read_source(path)]).view.required("node").text("id") == "a"


def test_a_message_of_any_type_can_be_loaded() -> None:
    source = Source("x.yaml", "name: a\nvirtual_hosts: [{name: v, domains: ['*']}]\n")
    assert load_message("envoy.config.route.v3.RouteConfiguration", [source]).view.text("name") == "a"
    with pytest.raises(ValueError, match="no message"):
        load_message("envoy.Nothing", [source])


def _written(path: Path, content: bytes) -> Source:
    path.write_bytes(content)
    return read_source(path)


def test_protobufs_own_forms_are_read_and_merged(tmp_path: Path) -> None:
    text = b'node { id: "a" } admin { access_log { typed_config { [type.googleapis.com/' + (
        b'envoy.extensions.access_loggers.file.v3.FileAccessLog] { path: "/dev/null" } } } }'
    )
    first = load_bootstrap([_written(tmp_path / "one.pb_text", text)])
    packed = _written(tmp_path / "one.pb", first.message.SerializeToString())
    both = load_bootstrap([packed, Source("y.yaml", "node: {cluster: c}")])
    node = both.view.required("node")
    assert (node.text("id"), node.text("cluster")) == ("a", "c")
    (log,) = both.view.required("admin").views("access_log")
    typed = log.any("typed_config")
    assert typed is not None
    assert typed.full_name.endswith("FileAccessLog")


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("a.pb", b"\xff\xff", "a.pb: no packed envoy.config.bootstrap.v3.Bootstrap"),
        ("a.pb_text", b"node {\n  idd: 1\n}", 'a.pb_text:2:3: Message type "envoy.config.core.v3.Node" has no field'),
        (
            "a.pb_text",
            b"static_resources { clusters { } }",
            "a.pb_text: clusters[0].name: value length must",
        ),
    ],
)
def test_faults_of_protobufs_own_forms_name_the_file(tmp_path: Path, name: str, content: bytes, fault: str) -> None:
    assert fault in str(problems(_written(tmp_path / name, content)))
