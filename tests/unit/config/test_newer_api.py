"""What Envoy's API has beyond the published package is there, whoever imports it."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from meshproxy.messages.api_import import EXTENDED
from meshproxy.messages.by_name import message_class
from meshproxy.messages.newer_api import ADDITIONS, NAMES, extended


def module_of(file: str) -> str:
    return file.removesuffix(".proto").replace("/", ".") + "_pb2"


def test_the_hook_knows_each_file_with_additions() -> None:
    assert {module_of(file) for file in ADDITIONS} == EXTENDED


@pytest.mark.parametrize("file", ADDITIONS)
def test_the_fields_are_there(file: str) -> None:
    module = importlib.import_module(module_of(file))
    for path, fields in ADDITIONS[file].fields.items():
        found = message_class(f"{module.DESCRIPTOR.package}.{path}")
        assert found is not None
        for declared in fields:
            oneof, _, name = declared.name.rpartition("/")
            added = found.DESCRIPTOR.fields_by_name[name]
            assert added.number == declared.number
            assert (added.containing_oneof.name if added.containing_oneof else "") == oneof


@pytest.mark.parametrize("file", ADDITIONS)
def test_what_the_package_has_learnt_meanwhile_stays_as_it_is(file: str) -> None:
    known = FileDescriptorProto()
    importlib.import_module(module_of(file)).DESCRIPTOR.CopyToProto(known)
    assert FileDescriptorProto.FromString(extended(file, known.SerializeToString())) == known


@pytest.mark.parametrize("name", sorted(NAMES))
def test_messages_of_new_files_are_known(name: str) -> None:
    found = message_class(name)
    assert found is not None
    assert found.DESCRIPTOR.full_name == name


def test_a_program_that_imports_the_api_by_itself_gets_it_whole() -> None:
    code = (
        "import meshproxy\n"
        "from envoy.config.route.v3.route_components_pb2 import RouteMatch\n"
        "RouteMatch().cookies.add(name='a')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stderr
