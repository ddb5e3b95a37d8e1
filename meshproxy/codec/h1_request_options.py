"""What a request asks for its connection, where it is more than to keep it, and what is done with odd field names."""

from __future__ import annotations

from meshproxy.codec.framing import bad_request, check_nominations, connection_options
from meshproxy.headers import RequestHeaders
from meshproxy.model.codec import Http1Options

UNNAMED_UPGRADE = ","
"""What is asked for by an Upgrade without a value."""


def treat_connection(request: RequestHeaders, http10: bool, options: Http1Options) -> tuple[bool, str]:
    """Read the Connection field, and take out of the head what is never granted.

    Returns whether the connection is kept, and the upgrade that is asked for, "" for none. Raises ProtocolError (400)
    when Connection nominates what it must not.
    """
    if request.fields["connection"] == "close" and not request.repeated:
        return False, ""
    nominated = connection_options(request["connection"])
    check_nominations(request, nominated)
    keep_alive = "close" not in nominated and (not http10 or "keep-alive" in nominated)
    if "upgrade" not in nominated or "upgrade" not in request.fields:
        return keep_alive, ""
    upgrade = request["upgrade"].lower()
    if upgrade != "h2c" and not (options.ignored_upgrades and _ignores_upgrade(request, options)):
        return keep_alive, request["upgrade"].lower() or UNNAMED_UPGRADE
    # As Envoy does: this upgrade is never granted, so the request goes on without it.
    request.remove("upgrade")
    request.remove("http2-settings")
    kept = [option for option in nominated if option not in ("upgrade", "http2-settings")]
    if kept:
        request["connection"] = ",".join(sorted(kept))
    else:
        request.remove("connection")
    return keep_alive, ""


def _ignores_upgrade(request: RequestHeaders, options: Http1Options) -> bool:
    """Take out of Upgrade what is to be ignored. Returns whether nothing is left of it."""
    tokens = [token for each in request["upgrade"].split(",") if (token := each.strip(" \t"))]
    kept = [token for token in tokens if not any(matches(token) for matches in options.ignored_upgrades)]
    request["upgrade"] = ",".join(kept)
    return not kept


def drop_underscored(request: RequestHeaders, options: Http1Options) -> int:
    """`headers_with_underscores_action` where it isn't ALLOW: returns how many names were dropped.

    Raises ProtocolError (400, `http1.unexpected_underscore`).
    """
    found = [name for name, _ in request.items() if "_" in name]
    for name in found:
        if options.underscores == "REJECT_REQUEST":
            raise bad_request(f"underscore in {name!r}", "http1.unexpected_underscore")
        request.remove(name)
    return len(found)
