"""Which handshakes leave their secrets in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshproxy.address import CidrRange, CidrSet
from meshproxy.config.tls.tls_ciphers import DEFAULT_CIPHERS
from meshproxy.model.tls import CommonTls, DownstreamTls, KeyLog, TlsParameters
from meshproxy.runtime.tls.contexts import ServerContexts
from meshproxy.runtime.tls.failures import MaterialError
from meshproxy.runtime.tls.material import LoadedCertificate
from tests.certificates import folder
from tests.unit.tls.test_material import good
from tests.unit.tls.test_openssl import Ends

HERE, ELSEWHERE = CidrSet([CidrRange.parse("10.0.0.0", 8)]), CidrSet([CidrRange.parse("192.0.2.0", 24)])


class Sock:
    """A socket's addresses."""

    def __init__(self, local: object = ("10.0.0.1", 443), remote: object = ("10.0.0.2", 1234)) -> None:
        self.local, self.remote = local, remote

    def getsockname(self) -> object:
        return self.local

    def getpeername(self) -> object:
        if self.remote is None:
            raise OSError
        return self.remote


def written(config: KeyLog, sock: Sock, *, begin: bool = True) -> list[str]:
    """The kinds of secrets in the file after a handshake."""
    common = CommonTls(TlsParameters("TLSv1_2", "TLSv1_3", DEFAULT_CIPHERS), (good(),), key_log=config)
    contexts = ServerContexts(DownstreamTls(common), [LoadedCertificate(good())], None)
    ends = Ends(contexts.context, folder().client_context(""))
    assert contexts.key_log is not None
    if begin:
        contexts.key_log.begin(ends.server, sock)
    ends.shake()
    contexts.key_log.end(ends.server)
    return [line.split(" ")[0] for line in Path(config.path).read_text().splitlines()]


def test_secrets_of_a_handshake(tmp_path: Path) -> None:
    kinds = written(KeyLog(str(tmp_path / "keys")), Sock())
    assert {"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_TRAFFIC_SECRET_0"} <= set(kinds)
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600
    assert len(written(KeyLog(str(tmp_path / "keys")), Sock())) == 2 * len(kinds)


@pytest.mark.parametrize(
    ("local", "remote", "sock"),
    [
        (HERE, None, Sock()),
        (None, HERE, Sock()),
        (HERE, HERE, Sock()),
        (HERE, None, Sock(("::ffff:10.0.0.1", 443, 0, 0))),
        (None, None, Sock("", "")),
    ],
)
def test_wanted_addresses(tmp_path: Path, local: CidrSet | None, remote: CidrSet | None, sock: Sock) -> None:
    assert written(KeyLog(str(tmp_path / "keys"), local, remote), sock)


@pytest.mark.parametrize(
    ("local", "remote", "sock"),
    [
        (ELSEWHERE, None, Sock()),
        (HERE, ELSEWHERE, Sock()),
        (None, HERE, Sock(remote=None)),
        (HERE, None, Sock("/run/a.sock", "")),
    ],
)
def test_other_addresses(tmp_path: Path, local: CidrSet | None, remote: CidrSet | None, sock: Sock) -> None:
    assert not written(KeyLog(str(tmp_path / "keys"), local, remote), sock)


def test_a_handshake_that_was_not_begun(tmp_path: Path) -> None:
    assert not written(KeyLog(str(tmp_path / "keys")), Sock(), begin=False)


def test_a_file_that_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(MaterialError, match="unable to open file"):
        written(KeyLog(str(tmp_path / "no" / "keys")), Sock())
