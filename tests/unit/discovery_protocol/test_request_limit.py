from __future__ import annotations

import pytest

from meshproxy.xds.request_limit import RequestLimit


def test_burst_then_rate() -> None:
    limit = RequestLimit(3, 2.0, now=10.0)
    assert [limit.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert limit.wait() == pytest.approx(0.5)
    assert limit.take(10.5)
    assert not limit.take(10.6)
    assert limit.wait() == pytest.approx(0.4)
    assert [limit.take(100.0) for _ in range(4)] == [True, True, True, False], "never more than the burst"
