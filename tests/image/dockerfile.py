"""A Dockerfile as data, as far as ours goes: stages, instructions, exec forms."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stage:
    """One FROM and what follows: (instruction, argument) pairs in order."""

    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [argument for name, argument in self.instructions if name == instruction]

    def only(self, instruction: str) -> str:
        (argument,) = self.all(instruction)
        return argument

    def command(self, instruction: str) -> list[str]:
        """The exec form of an instruction. Raises ValueError for the shell form."""
        argument = self.only(instruction)
        words = json.loads(argument[argument.index("[") :])
        assert isinstance(words, list)
        return words

    def environment(self) -> dict[str, str]:
        return dict(word.split("=", 1) for argument in self.all("ENV") for word in shlex.split(argument))


def read(path: Path) -> list[Stage]:
    """The stages of a Dockerfile; what stands before the first FROM is dropped."""
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE))
    stages: list[Stage] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        instruction, _, argument = line.partition(" ")
        if instruction == "FROM":
            stages.append(Stage(argument.rpartition(" AS ")[2] if " AS " in argument else ""))
        elif stages:
            stages[-1].instructions.append((instruction, argument.strip()))
    return stages
