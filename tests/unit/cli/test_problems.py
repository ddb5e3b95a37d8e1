"""Problems of a configuration, shown with the line they are in."""

import pytest

from meshproxy.cli.problems import render_problems
from meshproxy.errors import Problem


def test_a_problem_with_its_line() -> None:
    problem = Problem("node.id", "must be text", "a.yaml", 2, 3)
    assert render_problems([problem], {"a.yaml": "x:\n  id: 7\n"}, color=False) == (
        "error: a.yaml:2:3: node.id: must be text\n2 |   id: 7\n  |   ^\n"
    )


def test_problems_without_a_place_and_their_number() -> None:
    shown = render_problems([Problem("", "one"), Problem("", "two", "gone.yaml", 7, 1)], {}, color=False)
    assert shown == "error: one\nerror: gone.yaml:7:1: two\n2 problems\n"


def test_a_long_line_is_cut_round_the_spot_and_control_characters_are_not_written() -> None:
    line = "x" * 500 + "!" + "\x1b[2J" + "y" * 500
    shown = render_problems([Problem("", "bad", "a", 1, 501)], {"a": line}, color=False).splitlines()
    assert len(shown[1]) < 200
    assert shown[1][shown[2].index("^")] == "!"
    assert "\x1b" not in shown[1]


def test_colour() -> None:
    assert "\x1b[31m" in render_problems([Problem("", "bad")], {}, color=True)


@pytest.mark.parametrize(
    ("path", "line", "shown"),
    [
        ("a.generic_secret", "{secret: {inline_string: hunter2}, x: 1}", "{secret: {inline_string: *******}, x: 1}"),
        ("a.private_key", 'inline_string: "k\\"ey"', "inline_string: *******"),
        ("a.value", '{"api_key": \'abc\', "b": "c"}', '{"api_key": *****, "b": "c"}'),
        ("a.body", "{inline_string: hello}", "{inline_string: hello}"),
        ("a.token_bucket", "{max_tokens: 5}", "{max_tokens: 5}"),
    ],
)
def test_secrets_are_covered(path: str, line: str, shown: str) -> None:
    assert f"1 | {shown}\n" in render_problems([Problem(path, "bad", "a", 1, 1)], {"a": line}, color=False)
