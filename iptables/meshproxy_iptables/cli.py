"""`meshproxy-iptables`: the init container's command, and its table of contents.

Exit codes: 0 done, 1 failed, 2 wrong usage, 126 the rules are in and traffic is not captured.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import apply, explain, flags, iptables_text, nft_text, settings, surroundings
from .errors import InterceptionError
from .plan import build
from .processes import Say, to_stderr
from .rules import Plan
from .settings import Settings


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    try:
        return _run(sys.argv[1:] if argv is None else argv, os.environ if environ is None else environ, to_stderr)
    except InterceptionError as error:
        to_stderr(f"error: {error}")
        return error.exit_code
    except OSError as error:
        to_stderr(f"error: {error}")
        return 1


def _run(argv: Sequence[str], environ: Mapping[str, str], say: Say) -> int:
    command, values = flags.parse(argv, environ)
    options, how, warnings = settings.read(values, surroundings.of_this_host())
    for warning in warnings:
        say(f"warning: {warning}")
    plan = build(options)
    if how.dry_run:
        _print(plan, how)
    elif how.cleanup_only:
        apply.uninstall(how, say)
    elif not how.skip_rule_apply:
        apply.install(plan, how, say)
    return 0


def _print(plan: Plan, how: Settings) -> None:
    match how.format:
        case "iptables-restore":
            text = iptables_text.render(plan)
        case "nft":
            text = nft_text.render(plan)
        case "explain":
            text = explain.render(plan, how.native_nftables)
    sys.stdout.write(text)
    if how.dry_run_file:
        Path(how.dry_run_file).write_text(text)
