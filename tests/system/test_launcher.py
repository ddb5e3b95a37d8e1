"""What tests start ends with them, however they end."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.launcher import start_meshproxy, start_program

ROOT = Path(__file__).parent.parent.parent
TESTS = """
import asyncio, sys
from tests.launcher import start_program

async def main():
    with open(sys.argv[1], "wb") as output:
        programs = [await start_program(["sleep", "600"], output) for _ in range(2)]
    print(*[program.pid for program in programs], flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_nothing_is_left_of_tests_that_were_ended(number: signal.Signals, tmp_path: Path) -> None:
    tests = await asyncio.create_subprocess_exec(
        sys.executable, "-c", TESTS, str(tmp_path / "output"), cwd=ROOT,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert tests.stdout is not None
    pids = [int(pid) for pid in (await tests.stdout.readline()).split()]
    assert len(pids) == 2
    tests.send_signal(number)
    await tests.communicate()
    async with asyncio.timeout(30):
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            await asyncio.sleep(0.02)


async def test_exit_codes_and_output(tmp_path: Path) -> None:
    with (tmp_path / "output").open("wb") as output:
        program = await start_program(
            ["sh", "-c", "echo $ANSWER; pwd; exit 7"], output, env={"ANSWER": "42"}, cwd=tmp_path
        )
        assert await program.wait() == 7
        killed = await start_program(["sleep", "600"], output)
        killed.kill()
        assert await killed.wait() == -signal.SIGKILL
        missing = await start_program(["/no/such/program"], output)
        assert await missing.wait() == 127
        refused = await start_meshproxy(["-c", "/no/such/file"], output, env=os.environ)
        assert await refused.wait() == 1
    said = (tmp_path / "output").read_text().splitlines()
    assert said[:2] == ["42", str(tmp_path)]
    assert "/no/such/program: No such file or directory" in said[2]
    assert "/no/such/file" in said[3]
