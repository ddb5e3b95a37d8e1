"""Prints how long a typical pod's rules take to install, per backend. Run as root: `python measure_apply.py`.

It makes a network namespace of its own, and measures in one process, so the start of Python is not in the figures; the
last column is the whole command, with it.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import statistics
import subprocess
import sys
import time

from meshproxy_iptables.cli import main

FLAGS = ["-p=15001", "-z=15006", "-u=1337", "-g=1337", "-m=REDIRECT", "-i=*", "-x=", "-b=*", "-d=15090,15021,15020"]
BACKENDS = {
    "native nftables": "--native-nftables",
    "iptables-nft": "--force-iptables-binary=nft",
    "iptables-legacy": "--force-iptables-binary=legacy",
}
ROUNDS = 15
_NEWNET = 0x40000000


def timed(*flags: str) -> float:
    """Milliseconds of one call."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        start = time.perf_counter()
        code = main(flags, {})
        passed = time.perf_counter() - start
    if code:
        sys.exit(said.getvalue())
    return passed * 1e3


def command(*flags: str) -> float:
    """Milliseconds of the whole command in a process of its own."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "meshproxy_iptables", *flags], check=True, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1e3


def measure() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(_NEWNET):
        sys.exit("needs root")
    print(
        f"{'median of ' + str(ROUNDS) + ', ms':<18} {'IPv6':>5} {'apply':>7} {'again':>7} {'cleanup':>8} {'command':>8}"
    )
    for name, backend in BACKENDS.items():
        for ipv6 in ("off", "on"):
            flags = [*FLAGS, backend, f"--ipv6={ipv6}"]
            columns: list[list[float]] = [[], [], [], []]
            for _ in range(ROUNDS):
                columns[0].append(timed(*flags))
                columns[1].append(timed(*flags))
                columns[2].append(timed("--cleanup-only"))
                columns[3].append(command(*flags))
                timed("--cleanup-only")
            apply, again, cleanup, whole = (statistics.median(column) for column in columns)
            print(f"{name:<18} {ipv6:>5} {apply:>7.1f} {again:>7.1f} {cleanup:>8.1f} {whole:>8.1f}")


if __name__ == "__main__":
    measure()
