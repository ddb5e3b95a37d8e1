from meshproxy.config.text.bootstrap_load import Source, load_bootstrap
from meshproxy.config.text.supported import collect_support, render_support

SAMPLE = Source("x.yaml", "node: {id: a}\nstatic_resources: {listeners: [{name: a, address: {pipe: {path: /a}}}]}\n")


def compile_source(source: Source) -> None:
    view = load_bootstrap([source]).view
    view.required("node").raw()
    (listener,) = view.required("static_resources").views("listeners")
    listener.text("name")
    listener.duration("listener_filters_timeout")
    listener.ignore("max_connections_to_accept_per_socket_event")


def test_what_was_asked_for_is_read_set_or_not() -> None:
    found = {message.full_name: message for message in collect_support(compile_source, [SAMPLE])}
    listener = found["envoy.config.listener.v3.Listener"]
    assert listener.read == ("name", "listener_filters_timeout")
    assert "max_connections_to_accept_per_socket_event" in dict(listener.ignored)
    assert "address" in listener.refused
    assert not {"name", "max_connections_to_accept_per_socket_event"} & set(listener.refused)
    assert found["envoy.config.core.v3.Node"].refused == ()
    assert found["envoy.config.bootstrap.v3.Bootstrap"].read == ("node", "static_resources")


def test_the_page() -> None:
    page = render_support(collect_support(compile_source, [SAMPLE]), 1)
    assert page.startswith("# Supported fields\n")
    assert "## envoy.config.listener.v3.Listener\n\nRead: `name`, `listener_filters_timeout`\n" in page
    assert "\n- `max_connections_to_accept_per_socket_event`: tunes" in page
