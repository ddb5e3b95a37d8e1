"""What the scripts need before they can start: a Python, Debian's packages, `.venv` filled from a lock file.

Runs on the bare Python of the system: standard library only, and only syntax that an old Python can still read, so
that it can say that it is too old. Everything is done at most once: a stamp in the environment names the lock file
that filled it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST, NEWEST = (3, 11), (3, 13)

RUN_LOCK = ROOT / "requirements.lock"
BUILD_LOCK = ROOT / "requirements-build.lock"
TEST_LOCK = ROOT / "requirements-test.lock"

TOOLS = {"ip": "iproute2", "iptables": "iptables", "nft": "nftables", "setpriv": "util-linux", "unshare": "util-linux"}
"""The programs that pods and interception need, and Debian's package of each."""


class SetupError(Exception):
    """What is missing can't be had; the text says what to do."""


def say(text: str) -> None:
    print(text, flush=True)


def find_python(wanted: str | None = None) -> str:
    """A Python of a supported version: `wanted`, or the system's, or any other on the PATH.

    The system's comes first because every user can read it; one in somebody's home can't be run as the proxy's uid.
    """
    names = [wanted] if wanted else ["/usr/bin/python3", sys.executable, "python3.13", "python3.12", "python3.11"]
    for name in names:
        path = shutil.which(name)
        if path is None:
            continue
        done = subprocess.run(
            [path, "-c", "import sys; print(*sys.version_info[:2])"], capture_output=True, text=True, check=False
        )
        if done.returncode == 0 and OLDEST <= tuple(int(part) for part in done.stdout.split()) <= NEWEST:
            return path
    raise SetupError(f"meshproxy needs Python 3.11, 3.12 or 3.13; found none under the name(s) {', '.join(names)}")


def has_venv(python: str) -> bool:
    """Whether `python` can make an environment with pip in it (on Debian that is a package of its own)."""
    return subprocess.run([python, "-c", "import venv, ensurepip"], capture_output=True, check=False).returncode == 0


def install_debian(packages: list[str]) -> None:
    """Installs Debian packages. Raises SetupError where that can't be done."""
    names = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SetupError(f"missing: {names}. Install it as root: apt-get install {names}")
    say(f"installing Debian packages: {names}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-q"], ["install", "-q", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(
            ["apt-get", *command],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SetupError(f"apt-get {' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def install_tools() -> None:
    """As root, installs those of TOOLS that are missing. Raises SetupError."""
    missing = sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
    if missing:
        install_debian(missing)


def prepare(lock: Path, python: str | None = None) -> Path:
    """Makes the environment and fills it from `lock` and with meshproxy itself; returns its Python.

    It is `.venv`, or for a Python that was asked for `.venv-3.x`. Raises SetupError.
    """
    os.umask(0o022)  # the proxy's own user has to be able to read it
    base = find_python(python)
    home = ROOT / (f".venv-{version_of(base)}" if python else ".venv")
    inside = home / "bin" / "python"
    directory = os.open(ROOT, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if not works(inside):
            if not has_venv(base):
                install_debian(["python3-venv"])
            say(f"making {home.name} with {base}")
            run([base, "-m", "venv", "--clear", str(home)])
        stamp = home / "meshproxy-lock"
        have = stamp.read_text() if stamp.exists() else ""
        if have not in {mark(lock), mark(TEST_LOCK)}:
            say(f"installing what {lock.name} names into {home.name} (a minute or two when it is new)")
            pip = [str(inside), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            for name in dict.fromkeys([lock, BUILD_LOCK]):
                run([*pip, "--require-hashes", "-r", str(name)])
            run([*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])
            stamp.write_text(mark(lock))
    finally:
        os.close(directory)
    return inside


def works(python: Path) -> bool:
    """Whether an environment is there and its Python still starts."""
    return (
        python.exists()
        and subprocess.run([python, "-m", "pip", "-V"], capture_output=True, check=False).returncode == 0
    )


def version_of(python: str) -> str:
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def mark(lock: Path) -> str:
    """What the stamp says of an environment filled from `lock`: changes with the lock and with pyproject.toml."""
    digest = hashlib.sha256(lock.read_bytes() + (ROOT / "pyproject.toml").read_bytes())
    return f"{lock.name} {digest.hexdigest()}\n"


def run(command: list[str]) -> None:
    """Runs a step of the set-up. Raises SetupError with its output if it fails."""
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SetupError(f"failed: {' '.join(command)}\n{done.stdout}{done.stderr}")
