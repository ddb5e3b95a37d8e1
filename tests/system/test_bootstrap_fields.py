"""What the bootstrap says beside listeners and clusters, seen from outside."""

from __future__ import annotations

import signal
from pathlib import Path

from .program import running


async def test_admin_paths_its_log_and_tags_of_statistics(tmp_path: Path) -> None:
    log = tmp_path / "admin.log"
    more = f"""
admin: {{allow_paths: [{{exact: /ready}}, {{prefix: /stats}}], access_log_path: {log}}}
stats_server_version_override: 77
stats_config: {{stats_tags: [{{tag_name: word, regex: '^server(?=\\.)(\\.(v[[:alpha:]]+))$'}}]}}
"""
    async with running(tmp_path, 9, "--config-yaml", more) as program:
        assert await program.ask("/ready") == (200, "LIVE\n")
        assert await program.ask("/clusters") == (403, "request to path /clusters not allowed")
        assert await program.ask("/ready?x=1") == (403, "request to path /ready?x=1 not allowed")
        _, page = await program.ask("/stats?format=prometheus&filter=server.version")
        assert 'envoy_server{word="version"} 77' in page
        program.send_signal(signal.SIGTERM)
        assert await program.exit_code() == 0
    asked = [line.split('"')[1] for line in log.read_text().splitlines()]
    assert "GET /clusters HTTP/1.1" in asked
