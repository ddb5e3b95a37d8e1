"""Holding back a peer: what asyncio's streams leave to the transport below them."""

from __future__ import annotations

import asyncio


def stop_reading(writer: asyncio.StreamWriter) -> None:
    """Read nothing more from the peer of `writer`, so that its window fills."""
    assert isinstance(writer.transport, asyncio.ReadTransport)
    writer.transport.pause_reading()


def read_on(writer: asyncio.StreamWriter) -> None:
    """Undo `stop_reading`."""
    assert isinstance(writer.transport, asyncio.ReadTransport)
    writer.transport.resume_reading()
