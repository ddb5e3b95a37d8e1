"""The same command lines to both programs: what is a fault ends with the same code, and what is not does not."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from . import subject

GOOD = {"static_resources": {"clusters": [{"name": "a", "type": "STATIC", "connect_timeout": "1s"}]}}
BAD = {"static_resources": {"clusters": [{"nme": "a"}]}}
COMMANDS: dict[str, list[str]] = {
    "validate": ["--mode", "validate", "-c", "good.json"],
    "validate-long-options": ["--mode", "validate", "--config-path", "good.json"],
    "validate-unknown-field": ["--mode", "validate", "-c", "bad.json"],
    "validate-missing-file": ["--mode", "validate", "-c", "none.json"],
    "validate-not-yaml": ["--mode", "validate", "-c", "broken.yaml"],
    "validate-config-yaml": ["--mode", "validate", "--config-yaml", json.dumps(GOOD)],
    "validate-config-yaml-over-file": ["--mode", "validate", "-c", "good.json", "--config-yaml", json.dumps(BAD)],
    "no-configuration": ["--mode", "validate"],
    "unknown-flag": ["--nonsense"],
    "unknown-mode": ["--mode", "dance", "-c", "good.json"],
    "bad-concurrency": ["--mode", "validate", "--concurrency", "many", "-c", "good.json"],
    "unknown-log-level": ["--mode", "validate", "-l", "loud", "-c", "good.json"],
    "version": ["--version"],
    "help": ["--help"],
    "flags-of-hot-restart": ["--mode", "validate", "-c", "good.json", "--restart-epoch", "0", "--disable-hot-restart"],
    "flags-of-drain": ["--mode", "validate", "-c", "good.json", "--drain-time-s", "1", "--drain-strategy", "immediate"],
    "flags-of-node": ["--mode", "validate", "-c", "good.json", "--service-node", "n", "--service-cluster", "c"],
}
# See `known.USAGE`.
USAGE = {"no-configuration", "unknown-flag", "unknown-mode", "bad-concurrency", "unknown-log-level"}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "good.json").write_text(json.dumps(GOOD))
    (tmp_path / "bad.json").write_text(json.dumps(BAD))
    (tmp_path / "broken.yaml").write_text("a: [b\nc: d")
    return tmp_path


@pytest.mark.envoy
@pytest.mark.parametrize("name", COMMANDS)
async def test_same_exit_code(name: str, files: Path) -> None:
    async def code(program: str) -> int:
        start = subject.command(program)[: 1 if program == "envoy" else 3]
        flags = ["--use-dynamic-base-id"] if program == "envoy" else []
        process = await asyncio.create_subprocess_exec(
            *start, *flags, *COMMANDS[name], cwd=files, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        return await asyncio.wait_for(process.wait(), 20)

    envoy, ours = await asyncio.gather(code("envoy"), code("meshproxy"))
    assert envoy == (1 if name in USAGE else envoy)
    assert ours == (2 if name in USAGE else envoy)
