"""Damaged bootstraps: whatever is done to the text, it loads or is refused with problems that have places."""

from hypothesis import given, settings
from hypothesis import strategies as st

from meshproxy.config.text.bootstrap_load import Source, load_bootstrap
from meshproxy.errors import ConfigError
from meshproxy.plugin.view import ConfigView
from tests.unit.config.golden import case, names

TEXTS = [case("accepted", name)[0] for name in names("accepted")]
VALUES = [
    "n",
    "~",
    '""',
    "-1",
    "010",
    ".5",
    "5m",
    "[]",
    "{}",
    "[a]",
    "{a: b}",
    "99999999999",
    "*a",
    "&a x",
    "|",
    "\\ud800",
]
TYPES = [
    "xds.type.v3.TypedStruct",
    "google.protobuf.Any",
    "google.protobuf.Struct",
    "envoy.config.route.v3.Route",
    "a.B",
    "",
]


@st.composite
def damaged(draw: st.DrawFn) -> str:
    lines = draw(st.sampled_from(TEXTS)).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        index = draw(st.integers(0, len(lines) - 1))
        line = lines[index]
        match draw(st.integers(0, 4)):
            case 0:
                lines[index] = line.partition(":")[0] + ": " + draw(st.sampled_from(VALUES))
            case 1:
                lines[index] = line.partition("@type")[0] + '@type": x/' + draw(st.sampled_from(TYPES))
            case 2:
                lines[index] = line[: draw(st.integers(0, len(line)))]
            case 3:
                lines.insert(index, draw(st.sampled_from(lines)))
            case _:
                lines[index] = draw(st.sampled_from([" ", "- ", ""])) + line
    return "\n".join(lines)


def verdict(text: str, json: bool) -> ConfigView | ConfigError:
    try:
        return load_bootstrap([Source("x.yaml", text, json)]).view
    except ConfigError as error:
        return error


@settings(max_examples=200)
@given(damaged(), st.booleans())
def test_a_damaged_bootstrap_loads_or_is_refused_with_its_places(text: str, json: bool) -> None:
    found = verdict(text, json)
    if isinstance(found, ConfigView):
        assert all(problem.line for problem in found.unread_problems())
    else:
        assert found.problems
        assert all(problem.source == "x.yaml" for problem in found.problems)
