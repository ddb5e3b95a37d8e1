"""One page of Prometheus' text format out of several: the agent's own, the proxy's, the application's.

The application comes last: if it speaks OpenMetrics its page ends with `# EOF`, and nothing may follow that. A page
that can't be had is left out and counted; a scrape that loses the proxy's figures because the application is down
would be worse than none.
"""

from __future__ import annotations

from collections.abc import Sequence

from meshproxy.records import dataclass

TEXT = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Page:
    """What one source answered."""

    body: bytes
    content_type: str = TEXT


def is_open_metrics(content_type: str) -> bool:
    return content_type.split(";")[0].strip().lower() == "application/openmetrics-text"


def merge(agent: bytes, proxy: Page | None, applications: Sequence[Page]) -> Page:
    """One page. Its type is the application's if there is exactly one, as its text keeps its own syntax."""
    parts = [agent]
    if proxy is not None:
        parts.append(proxy.body)
    several = len(applications) > 1
    parts += [_without_end(page.body) if several else page.body for page in applications]
    content_type = TEXT
    if len(applications) == 1 and is_open_metrics(applications[0].content_type):
        content_type = applications[0].content_type
    body = b"".join(part if part.endswith(b"\n") or not part else part + b"\n" for part in parts)
    if content_type == TEXT:
        body = _without_end(body)
    return Page(body, content_type)


def _without_end(body: bytes) -> bytes:
    stripped = body.rstrip()
    return stripped[: -len(b"# EOF")] if stripped.endswith(b"# EOF") else body
