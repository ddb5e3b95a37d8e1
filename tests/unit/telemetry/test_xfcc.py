"""The fields of x-forwarded-client-cert, as a format reads them; what Envoy says of each, tests/parity shows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from meshproxy.telemetry.xfcc import KEYS, xfcc_value


def test_quoted_values_hide_what_parts() -> None:
    field = r'By=a;URI="x,y;\"z;hash=1",By=b;Hash=2'
    assert xfcc_value(field, "uri") == 'x,y;"z;hash=1'
    assert xfcc_value(field, "hash") == "2"
    assert xfcc_value(field, "by") == "a"
    assert xfcc_value('By=a;URI="open', "uri") is None


@given(st.text(st.sampled_from('"\\,;=aURIuri '), max_size=30), st.sampled_from(KEYS))
def test_any_text_is_read_to_its_end(field: str, key: str) -> None:
    value = xfcc_value(field, key)
    assert value is None or len(value) <= len(field)
