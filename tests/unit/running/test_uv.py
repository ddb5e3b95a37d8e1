"""The loop that tests run on."""

from __future__ import annotations

import asyncio

import pytest

from tests import uv


def test_what_a_failed_test_leaves_open_is_closed() -> None:
    async def fail() -> None:
        await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
        raise ValueError("failed")

    with pytest.warns(ResourceWarning, match="unclosed resource"), pytest.raises(ValueError, match="failed"):
        uv.run(fail())
