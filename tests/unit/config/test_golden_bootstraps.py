import pytest

from meshproxy.config.text.bootstrap_load import Source, load_bootstrap
from meshproxy.errors import ConfigError
from tests.unit.config.golden import case, names


@pytest.mark.parametrize("name", names("refused"))
def test_every_problem_is_reported_at_its_place(name: str) -> None:
    text, expected = case("refused", name)
    assert expected, "a refused case lists its problems"
    with pytest.raises(ConfigError) as caught:
        load_bootstrap([Source("envoy.yaml", text)])
    assert [str(problem) for problem in caught.value.problems] == expected


@pytest.mark.parametrize("name", names("accepted"))
def test_what_envoy_accepts_is_accepted(name: str) -> None:
    text, _ = case("accepted", name)
    loaded = load_bootstrap([Source("envoy.yaml", text)])
    # Nobody has read anything yet, so everything at the top is unread, at a known place.
    unread = loaded.view.unread_problems()
    assert len(unread) == len(loaded.message.ListFields())
    assert all(problem.source == "envoy.yaml" and problem.line > 0 for problem in unread)
