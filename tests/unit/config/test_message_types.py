import subprocess
import sys

import pytest

from meshproxy.messages.by_name import message_class, name_of_type_url, nearest_type
from meshproxy.suggest import did_you_mean, nearest, unsupported_extension


@pytest.mark.parametrize(
    "name",
    [
        "envoy.extensions.filters.http.fault.v3.HTTPFault",
        "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig",
        "envoy.type.v3.FractionalPercent",
        "xds.type.v3.TypedStruct",
        "udpa.type.v1.TypedStruct",
        "google.protobuf.StringValue",
    ],
)
def test_messages_are_found_by_name(name: str) -> None:
    found = message_class(name)
    assert found is not None
    assert found.DESCRIPTOR.full_name == name


@pytest.mark.parametrize(
    "name", ["", "Foo", "envoy.X", "envoy..v3.X", "os.path.Foo", "envoy.foo.v3.Bar", "envoy.type.v3.Prcent", "../x.Y"]
)
def test_anything_else_is_none(name: str) -> None:
    assert message_class(name) is None


def test_only_what_is_asked_for_is_imported() -> None:
    code = (
        "import sys; from meshproxy.messages.by_name import message_class\n"
        "message_class('os.path.Foo'); message_class('antigravity.X')\n"
        "assert message_class('envoy.type.v3.Percent')\n"
        "modules = [name for name in sys.modules if name.startswith('envoy.') and name.endswith('_pb2')]\n"
        "print(len(modules), 'antigravity' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["1", "False"]


def test_type_urls() -> None:
    assert name_of_type_url("type.googleapis.com/a.B") == "a.B"
    assert name_of_type_url("a.b/c/d.E") == "d.E"
    assert name_of_type_url("a.B") == name_of_type_url("/a.B") == ""


def test_the_nearest_type() -> None:
    fault = "envoy.extensions.filters.http.fault.v3.HTTPFault"
    assert nearest_type("envoy.extensions.filters.http.fault.v3.HttpFualt") == fault
    assert nearest_type("envoy.extensions.filters.http.fualt.v3.HTTPFault") == fault
    assert nearest_type("acme.Gate") is None


def test_suggestions() -> None:
    assert nearest("stat_prefx", ["stat_prefix", "name"]) == "stat_prefix"
    assert did_you_mean("zzz", ["stat_prefix"]) == ""
    assert "Python class" in unsupported_extension("envoy.extensions.filters.http.lua.v3.Lua", ["a.B"])
    assert "no Wasm code" in unsupported_extension("envoy.extensions.filters.http.wasm.v3.Wasm", [])
    assert unsupported_extension("acme.Gat", ["acme.Gate"]) == "unknown extension 'acme.Gat'; did you mean 'acme.Gate'?"
    redis = "envoy.extensions.filters.network.redis_proxy.v3.RedisProxy"
    assert "tcp_proxy carries it" in unsupported_extension(redis, [redis.replace("redis", "tcp")])
    assert unsupported_extension("zzz", ["b.C", "a.B"]) == "unknown extension 'zzz'; known are a.B, b.C"
