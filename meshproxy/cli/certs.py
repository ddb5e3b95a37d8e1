"""`meshproxy certs`: an authority for one machine, and certificates of it.

    meshproxy certs --directory certs web=spiffe://cluster.local/ns/default/sa/web,web.test
    meshproxy certs --directory certs --days 30 gateway=gateway.test,127.0.0.1

Each argument is a name for the files and the identities that the certificate is for. The authority is made on the first
call; called again with the same name it makes a new certificate, which a running proxy takes up within a second.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


def main(arguments: Sequence[str]) -> int:
    """Run the command. Returns the exit code: 0, 1 for what couldn't be done; bad usage exits with 2."""
    parser = argparse.ArgumentParser(
        prog="meshproxy certs",
        description="Make a certificate authority for one machine, and certificates of it.",
    )
    parser.add_argument("--directory", type=Path, default=Path("certs"), help="where the files are (default: certs)")
    parser.add_argument("--days", type=float, default=1.0, help="how long a certificate is valid (default: 1)")
    parser.add_argument("--trust-domain", default="cluster.local", help="the organization in the root's name")
    parser.add_argument(
        "certificates", nargs="*", metavar="NAME=IDENTITY[,IDENTITY...]", help="spiffe:// ids, DNS names, IP addresses"
    )
    options = parser.parse_args(arguments)
    wanted = []
    for text in options.certificates:
        name, _, identities = text.partition("=")
        if not _NAME.match(name) or name == "ca" or not identities:
            parser.error(f"'{text}' isn't NAME=IDENTITY[,IDENTITY...]")
        wanted.append((name, tuple(identities.split(","))))
    if options.days <= 0:
        parser.error("--days must be more than 0")

    from meshproxy.runtime.tls.authority import LocalAuthority

    try:
        authority = LocalAuthority(options.directory, organization=options.trust_domain)
        print(f"{options.directory / 'ca.pem'}: the authority")  # noqa: T201  # what was asked for
        for name, identities in wanted:
            chain, key = authority.issue(name, identities, days=options.days)
            print(f"{chain}, {key}: {', '.join(identities)}")  # noqa: T201  # what was asked for
    except (OSError, ValueError) as error:
        print(f"meshproxy certs: {error}", file=sys.stderr)  # noqa: T201  # the answer to a wrong call
        return 1
    return 0
