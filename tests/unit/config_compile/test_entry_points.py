"""Entry points are found as the standard library finds them, but without it."""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from pathlib import Path

import pytest

from meshproxy.plugin.entry_points import EntryPoint, entry_points

GROUPS = ("meshproxy.filters", "console_scripts", "pytest11", "no.such.group")


def standard(group: str) -> set[tuple[str, str, str]]:
    found = importlib.metadata.entry_points(group=group)
    return {(one.name, one.value, one.dist.name.replace("-", "_").lower() if one.dist else "") for one in found}


def ours(group: str) -> set[tuple[str, str, str]]:
    return {(name, value, distribution.replace("-", "_").lower()) for name, value, distribution in entry_points(group)}


@pytest.mark.parametrize("group", GROUPS)
def test_those_of_this_environment(group: str) -> None:
    assert ours(group) == standard(group)


def distribution(folder: Path, name: str, text: str) -> None:
    place = folder / f"{name}.dist-info"
    place.mkdir(parents=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.partition('-')[0]}\nVersion: 1.0\n")
    (place / "entry_points.txt").write_text(text)


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    folders = [tmp_path / "first", tmp_path / "second"]
    monkeypatch.setattr(sys, "path", [*map(str, folders), "/no/such/folder", *sys.path])
    return folders


def test_the_first_on_the_path_counts(folders: list[Path]) -> None:
    text = "[other]\na = x:y\n\n[mine]\n# a = b:c\nname = fractions:Fraction [more]\n"
    distribution(folders[0], "my_pack.age-1.0", text)
    distribution(folders[1], "my_pack_age-2.0", "[mine]\nname = decimal:Decimal\nnext = decimal:Decimal\n")
    assert entry_points("mine") == [EntryPoint("name", "fractions:Fraction [more]", "my_pack.age")]
    assert entry_points("mine")[0].load().__name__ == "Fraction"
    assert len(standard("mine")) == 1


def test_an_archive_on_the_path(folders: list[Path], tmp_path: Path) -> None:
    archive = tmp_path / "packed.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("packed-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: packed\nVersion: 1.0\n")
        file.writestr("packed-1.0.dist-info/entry_points.txt", "[mine]\nname = decimal:Decimal\n")
    sys.path.append(str(archive))
    assert entry_points("mine") == [EntryPoint("name", "decimal:Decimal", "packed")]


def test_a_module_without_attribute() -> None:
    assert EntryPoint("name", "decimal").load().__name__ == "decimal"
