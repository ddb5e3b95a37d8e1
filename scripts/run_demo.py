"""`scripts/demo`: makes `.venv` from the lock file, as root installs missing tools, and starts `examples.demo`."""

from __future__ import annotations

import os
import sys

from environment import ROOT, RUN_LOCK, SetupError, install_tools, prepare, say


def main() -> int:
    try:
        if os.geteuid() == 0:
            install_tools()
        python = prepare(RUN_LOCK)
    except SetupError as error:
        say(f"scripts/demo: {error}")
        return 2
    os.chdir(ROOT)
    os.execv(python, [str(python), "-m", "examples.demo", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
