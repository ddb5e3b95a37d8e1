"""The system's files about names."""

from __future__ import annotations

from pathlib import Path

from meshproxy.runtime.dns.resolv_conf import ResolvConf, WatchedFile, parse_hosts, parse_resolv_conf


def test_resolv_conf() -> None:
    text = """# a comment
nameserver 10.0.0.1
nameserver ::ffff:10.0.0.2   # rest of the line
nameserver nonsense
domain old.test
search a.test b.test.
options ndots:5 rotate timeout:1 unknown
"""
    assert parse_resolv_conf(text) == ResolvConf(
        (("10.0.0.1", 53), ("10.0.0.2", 53)), ("a.test", "b.test"), ndots=5, rotate=True
    )


def test_the_bounds_of_resolv_conf() -> None:
    many = "".join(f"nameserver 10.0.0.{i}\n" for i in range(1, 6)) + "options ndots:99 ndots:x\n"
    assert len(parse_resolv_conf(many).servers) == 3
    assert parse_resolv_conf(many).ndots == 15
    assert parse_resolv_conf("").servers == (("127.0.0.1", 53),)
    assert parse_resolv_conf("nameserver fe80::1%lo\n").servers == (("fe80::1%lo", 53),)


def test_hosts() -> None:
    text = "127.0.0.1\tlocalhost  Loc\n::1 localhost\n# 9.9.9.9 no\nbad here\n10.0.0.1 # nobody\n"
    assert parse_hosts(text) == {"localhost": ("127.0.0.1", "::1"), "loc": ("127.0.0.1",)}


def test_a_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    file = WatchedFile(str(path), parse_hosts)
    assert file.read() == {}
    path.write_text("10.0.0.1 a\n")
    first = file.read()
    assert first == {"a": ("10.0.0.1",)}
    assert file.read() is first
    path.write_text("10.0.0.2 a b\n")
    assert file.read()["b"] == ("10.0.0.2",)
    path.unlink()
    assert file.read() == {}
