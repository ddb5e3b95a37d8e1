"""The command line: `meshproxy -c envoy.yaml`.

Exit codes: 0 ended as asked, 1 the configuration is bad, 2 the command line is, 3 an address or privilege can't be had.
Data goes to standard output, everything else to standard error. What only a part of the program needs is imported by
that part, so that `--help` and `--version` are immediate.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

EXIT_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns the exit code. argv: without the program's name."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments and arguments[0] == "certs":
        from meshproxy.cli.certs import main as make_certificates

        return make_certificates(arguments[1:])
    if arguments and arguments[0] in ("agent", "wait", "request"):
        from meshproxy.cli.agent import COMMANDS

        return COMMANDS[arguments[0]](arguments[1:])
    if arguments and not arguments[0].startswith("-"):
        from meshproxy.cli.pilot_agent import COMMANDS as OF_ISTIO

        if arguments[0] in OF_ISTIO:
            return OF_ISTIO[arguments[0]](arguments[1:])
    from meshproxy.cli.flags import parse_flags

    try:
        options = parse_flags(arguments, os.environ)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else EXIT_USAGE
    gc.disable()  # what is imported stays, and to look through it again and again takes a twentieth of the start
    from meshproxy.cli.run import run

    return run(options)
