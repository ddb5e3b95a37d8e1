"""What the transcoder is configured with (envoy.extensions.filters.http.grpc_json_transcoder.v3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from google.api import http_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor

from meshproxy.errors import ConfigError
from meshproxy.plugin.context import FactoryContext
from meshproxy.records import dataclass
from meshproxy_filters.http.grpc_json_transcoder.paths import PathTable, Template, parse_template
from meshproxy_filters.http.grpc_json_transcoder.schema import HTTP_BODY, PrintOptions, Schema, field_path, http_rules

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One way to call a method.

    body: the fields on the way to the one that the request's body is; () for the message itself, None for none.
    response_field: the `HttpBody` that is answered with; None for the message itself.
    raw_request, raw_response: the message (the body's field) is a `HttpBody`, which stands for a body that is no JSON.
    """

    path: str
    method: MethodDescriptor
    body: tuple[FieldDescriptor, ...] | None
    response_field: FieldDescriptor | None
    raw_request: bool
    raw_response: bool

    @property
    def client_streaming(self) -> bool:
        return bool(self.method.client_streaming)

    @property
    def server_streaming(self) -> bool:
        return bool(self.method.server_streaming)


@dataclass(frozen=True, slots=True, eq=False)
class TranscoderConfig:
    """schema, table: None where nothing is transcoded. ignored: names of query parameters of no meaning here.

    body_limit: bytes of a request's body; 0 for the listener's. response_limit: the same of a response.
    """

    schema: Schema | None = None
    table: PathTable[Rule] | None = None
    print_options: PrintOptions = PrintOptions()
    newline_delimited: bool = False
    sse_delimited: bool = False
    keeps_route: bool = False
    ignored: frozenset[str] = frozenset()
    ignores_unknown: bool = False
    converts_status: bool = False
    plus_is_space: bool = False
    any_case: bool = False
    refuses_unknown_method: bool = False
    refuses_unknown_parameters: bool = False
    refuses_collisions: bool = False
    body_limit: int = 0
    response_limit: int = 0


def read_transcoder(view: ConfigView, context: FactoryContext) -> TranscoderConfig:
    """`GrpcJsonTranscoder`. Raises ConfigError."""
    for problem in view.unsupported("capture_unknown_query_parameters"):
        raise ConfigError(problem)
    services = view.texts("services")
    validation, printing = view.view("request_validation_options"), view.view("print_options")
    source = view.which("descriptor_set")
    data = _read_descriptors(view, source, context)
    if not services or source is None:
        return TranscoderConfig()
    try:
        schema = Schema(data)
        rules = list(_rules(schema, services, auto=view.boolean("auto_mapping")))
    except ValueError as error:
        view.fail(str(error))
    table = PathTable(
        rules, any_verb=view.boolean("match_unregistered_custom_verb"), unescape=view.enum("url_unescape_spec")
    )

    def validates(name: str) -> bool:
        return validation is not None and validation.boolean(name)

    def prints(name: str) -> bool:
        return printing is not None and printing.boolean(name)

    return TranscoderConfig(
        schema,
        table,
        PrintOptions(**{name: prints(name) for name in PrintOptions.__dataclass_fields__}),
        newline_delimited=prints("stream_newline_delimited"),
        sse_delimited=prints("stream_sse_style_delimited"),
        keeps_route=view.boolean("match_incoming_request_route"),
        ignored=frozenset(view.texts("ignored_query_parameters")),
        ignores_unknown=view.boolean("ignore_unknown_query_parameters"),
        converts_status=view.boolean("convert_grpc_status"),
        plus_is_space=view.boolean("query_param_unescape_plus"),
        any_case=view.boolean("case_insensitive_enum_parsing"),
        refuses_unknown_method=validates("reject_unknown_method"),
        refuses_unknown_parameters=validates("reject_unknown_query_parameters"),
        refuses_collisions=validates("reject_binding_body_field_collisions"),
        body_limit=view.integer("max_request_body_size"),
        response_limit=view.integer("max_response_body_size"),
    )


def _read_descriptors(view: ConfigView, source: str | None, context: FactoryContext) -> bytes:
    if source == "proto_descriptor_bin":
        return view.data(source)
    if source == "proto_descriptor":
        try:
            with open(view.text(source), "rb") as file:
                return file.read()
        except OSError as error:
            view.fail(f"file '{view.text(source)}' can't be read: {error.strerror}", source)
    return b""


def _rules(schema: Schema, services: Sequence[str], *, auto: bool) -> Iterator[tuple[str, Template, Rule]]:
    for name in services:
        for method in schema.service(name).methods:
            path = f"/{name}/{method.name}"
            for found in http_rules(method):
                kind = found.WhichOneof("pattern")
                if kind is None:
                    continue
                verb = found.custom.kind if kind == "custom" else kind.upper()
                template = parse_template(found.custom.path if kind == "custom" else getattr(found, kind))
                for variable in template.variables:
                    if field_path(method.input_type, variable.field) is None:
                        raise ValueError(f"Could not find field '{'.'.join(variable.field)}' in {name}.{method.name}")
                yield verb, template, _rule(path, method, found)
            if auto:
                yield "POST", parse_template(path), _rule(path, method, http_pb2.HttpRule(body="*"))


def _rule(path: str, method: MethodDescriptor, found: http_pb2.HttpRule) -> Rule:
    body: tuple[FieldDescriptor, ...] | None = None
    if found.body:
        fields = field_path(method.input_type, found.body.split(".")) if found.body != "*" else []
        if fields is None:
            raise ValueError(f"Could not find field '{found.body}' in {method.full_name}")
        body = tuple(fields)
    response: FieldDescriptor | None = None
    if found.response_body:
        response = method.output_type.fields_by_name.get(found.response_body)
        if response is None:
            raise ValueError(f"Could not find field '{found.response_body}' in {method.full_name}")
        if response.message_type is None or response.message_type.full_name != HTTP_BODY:
            raise ValueError(
                f"transcoding_filter: Cannot register '{method.full_name}': "
                'Setting "response_body" is not supported yet for non-HttpBody fields'
            )
    of_body = method.input_type if not body else body[-1].message_type
    of_response = method.output_type if response is None else response.message_type
    return Rule(
        path,
        method,
        body,
        response,
        body is not None and of_body is not None and of_body.full_name == HTTP_BODY,
        of_response is not None and of_response.full_name == HTTP_BODY,
    )
