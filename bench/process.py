"""Processes as the kernel accounts for them: started on a given CPU, measured as a whole tree, stopped by their ids.

A proxy is charged for every process below the one that was started, also for those that have ended: what a supervisor
or a worker costs is part of what the proxy costs. Times come from `/proc/PID/stat` (proc(5): utime, stime, and cutime,
cstime of children that were waited for), in ticks of 10 ms, so a round of 2 s is exact to about 0.5 %.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Microseconds spent in user space and in the kernel."""

    user: float
    system: float

    def __sub__(self, earlier: CpuTime) -> CpuTime:
        return CpuTime(self.user - earlier.user, self.system - earlier.system)

    @property
    def total(self) -> float:
        return self.user + self.system


def _stat_fields(pid: int) -> list[str]:
    """The fields of `/proc/PID/stat` after the name, which may itself hold spaces and brackets; [0] is the state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(root: int) -> list[int]:
    """`root` and every process below it that lives."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                children.setdefault(int(_stat_fields(int(entry))[1]), []).append(int(entry))
            except (FileNotFoundError, ProcessLookupError):  # it ended while we looked
                continue
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def cpu_time(root: int) -> CpuTime:
    """What the tree below `root` has used since it was started."""
    user = system = 0
    for pid in tree(root):
        try:
            fields = _stat_fields(pid)
        except (FileNotFoundError, ProcessLookupError):  # its time is in its parent's cutime from now on
            continue
        user += int(fields[11]) + int(fields[13])
        system += int(fields[12]) + int(fields[14])
    return CpuTime(user * TICK_US, system * TICK_US)


def rss_kib(root: int) -> int:
    """Resident memory of the tree. Pages that processes of the tree share count once for each of them."""
    total = 0
    for pid in tree(root):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1])
    return total


def busy_us(cpu: int) -> float:
    """What a CPU has spent on anything but idling, since boot: to notice that somebody else was at work on it."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{cpu} "):
            user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in line.split()[1:9])
            return (user + nice + system + irq + softirq + steal) * TICK_US
    raise RuntimeError(f"/proc/stat has no cpu{cpu}")


def environment() -> dict[str, str]:
    """Ours without what makes Python slow to start: a shell that forbids byte code would be charged to meshproxy."""
    unwanted = {"PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED", "PYTHONDEVMODE", "PYTHONASYNCIODEBUG", "PYTHONWARNINGS"}
    return {name: value for name, value in os.environ.items() if name not in unwanted}


def start(
    command: Sequence[str], cpu: int, cwd: Path, output: Path, extra_environment: dict[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `command` on `cpu`, with room for many sockets; both its output streams go to the file `output`."""

    def prepare() -> None:
        os.sched_setaffinity(0, {cpu})
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    with output.open("ab") as stream:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=environment() | (extra_environment or {}),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            preexec_fn=prepare,
        )


def stop(process: subprocess.Popen[bytes], patience_s: float = 3.0) -> None:
    """Ask it to end; after `patience_s`, end it and what it started, by their ids."""
    if process.poll() is not None:
        return
    family = tree(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    deadline = time.monotonic() + 1.0
    for pid in family[1:]:
        while Path(f"/proc/{pid}").exists():
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                break
            time.sleep(0.02)
