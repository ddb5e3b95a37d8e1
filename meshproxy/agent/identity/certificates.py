"""Where the workload's certificate comes from, and the one that renews it in time.

Either files that somebody else renews (`./var/run/secrets/workload-spiffe-credentials`, or `FILE_MOUNTED_CERTS` and
`./etc/certs`), looked at again every second, or a certificate authority over `IstioCertificateService`: a key made
here, a request signed with it, the service account's token as who we are. At half of its life, give or take one
percent, a new one is asked for; while that fails the old one goes on being used, and the waits between tries grow to a
minute.

What is current is told to every listener of `on_change`, and written to a directory (`OUTPUT_CERTS`, else
`<configPath>/certs`), the key with mode 0600, each file whole or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import ssl
from collections.abc import Callable
from pathlib import Path

from meshproxy.agent.figures import Figures
from meshproxy.agent.grpc.grpc_call import GrpcError
from meshproxy.agent.grpc.grpc_channel import Channel
from meshproxy.agent.identity.credentials import (
    RSA_2048,
    Credentials,
    KeyOptions,
    from_files,
    make_request,
    read_chain,
    renewal_delay,
    utc_now,
)
from meshproxy.agent.settings import AgentSettings, parse_duration, parse_flag
from meshproxy.errors import ConfigError, Problem
from meshproxy.plugin.context import Logger
from meshproxy.records import dataclass

MOUNTED = Path("./var/run/secrets/workload-spiffe-credentials")
_OLDER_MOUNT = Path("./etc/certs")
_TOKEN = Path("./var/run/secrets/tokens/istio-token")
_ROOTS = (Path("./etc/certs/root-cert.pem"), Path("./var/run/secrets/istio/root-cert.pem"))
_KUBERNETES_ROOT = Path("./var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 60.0
_LOOK = 1.0
_RSA_BITS = range(2048, 8193)

FILES = ("key.pem", "cert-chain.pem", "root-cert.pem")


@dataclass(frozen=True, slots=True)
class AuthoritySettings:
    """How the authority is asked. lifetime in seconds; ratio and jitter: see `renewal_delay`.

    provisioned: a directory that may have a key and a certificate to be known by, in place of the token. signer: which
    of those that the authority has.
    """

    address: str
    server_name: str
    root: Path | None
    token: Path
    lifetime: int = 86400
    key: KeyOptions = RSA_2048
    provisioned: Path | None = None
    ratio: float = 0.5
    jitter: float = 0.01
    signer: str = ""

    @property
    def host_and_port(self) -> tuple[str, int]:
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), int(port)


def read_authority(settings: AgentSettings) -> AuthoritySettings | None:
    """From `CA_ADDR` (else the discovery address) and its companions; None without either. Raises ConfigError."""
    env = settings.variables.get
    address = env("CA_ADDR", "") or settings.discovery_address
    if not address or address.startswith(("unix:", "/", ".")):
        return None
    if ":" not in address:
        address += ":15012"
    host = address.rpartition(":")[0]
    try:
        return AuthoritySettings(
            address=address,
            server_name=env("ISTIOD_SAN", "") or ("istiod.istio-system.svc" if host == "localhost" else host),
            root=read_root(settings, "CA_ROOT_CA" if env("CA_ROOT_CA", "") else "XDS_ROOT_CA"),
            token=token_path(settings),
            lifetime=int(parse_duration(env("SECRET_TTL", "") or "24h")),
            key=_read_key_options(settings),
            provisioned=Path(env("PROV_CERT", "")) if env("PROV_CERT", "") else None,
            ratio=float(env("SECRET_GRACE_PERIOD_RATIO", "") or 0.5),
            jitter=float(env("SECRET_GRACE_PERIOD_RATIO_JITTER", "") or 0.01),
            signer=str(settings.metadata.get("CERT_SIGNER", "")),
        )
    except ValueError as error:
        names = "SECRET_TTL, SECRET_GRACE_PERIOD_RATIO, WORKLOAD_RSA_KEY_SIZE, PKCS8_KEY"
        raise ConfigError(Problem(names, str(error), "environment")) from None


def token_path(settings: AgentSettings) -> Path:
    """Where the service account's token is."""
    return Path(settings.variables.get("JWT_PATH", "") or _TOKEN)


def read_root(settings: AgentSettings, variable: str, otherwise: Path | None = None) -> Path | None:
    """What a server's certificate is verified against; None: what the system trusts.

    variable: which may name the file, or say "SYSTEM". otherwise: in place of the system's, where there is no file.
    """
    given = settings.variables.get(variable, "")
    if given:
        return None if given == "SYSTEM" else Path(given)
    if settings.variables.get("PILOT_CERT_PROVIDER", "") == "kubernetes":
        return _KUBERNETES_ROOT
    provisioned = settings.variables.get("PROV_CERT", "")
    places = ((Path(provisioned) / "root-cert.pem",) if provisioned else ()) + _ROOTS
    return next((path for path in places if path.exists()), otherwise)


def _read_key_options(settings: AgentSettings) -> KeyOptions:
    env = settings.variables.get
    bits = int(env("WORKLOAD_RSA_KEY_SIZE", "") or 2048)
    if bits not in _RSA_BITS:
        raise ValueError(f"RSA keys have 2048 to 8192 bits, not {bits}")
    return KeyOptions(env("ECC_SIGNATURE_ALGORITHM", "") == "ECDSA", bits, parse_flag(env("PKCS8_KEY", "")))


def mounted_certificates(settings: AgentSettings) -> Path | None:
    """The directory of certificates that somebody else renews, if there is one."""
    if (MOUNTED / "cert-chain.pem").exists():
        return MOUNTED
    return _OLDER_MOUNT if parse_flag(settings.variables.get("FILE_MOUNTED_CERTS", "")) else None


class Certificates:
    """The current credentials. `problem` says why there are none, or no newer ones."""

    def __init__(self, directory: Path, log: Logger, figures: Figures, rng: random.Random | None = None) -> None:
        self.current: Credentials | None = None
        self.problem = "none received yet"
        self.there = asyncio.Event()
        self.on_change: list[Callable[[Credentials], None]] = []
        self._directory = directory
        self._log = log
        self._rng = rng or random.Random()
        self._figures = figures
        figures.read("cert_expiry_seconds", self._valid_for)

    def _valid_for(self) -> float | None:
        return None if self.current is None else (self.current.not_after - utc_now()).total_seconds()

    def use(self, credentials: Credentials) -> None:
        """These are current from now on. Raises OSError if they can't be written."""
        if credentials == self.current:
            return
        write_files(self._directory, credentials)
        self.current = credentials
        self.problem = ""
        self.there.set()
        self._log.info("certificate", valid_until=credentials.not_after.isoformat())
        for listener in self.on_change:
            listener(credentials)

    def _failed(self, message: str) -> None:
        if message != self.problem:
            self._log.warning("no new certificate", reason=message)
        self.problem = message

    async def follow_files(self, directory: Path) -> None:
        """Take what is in a directory, now and whenever it changes."""
        seen: tuple[bytes, ...] = ()
        while True:
            try:
                key, chain, root = (_read(directory / name) for name in FILES)
                if (key, chain, root) != seen:
                    self.use(from_files(key, chain, root))
                    seen = (key, chain, root)
            except (OSError, ValueError, IndexError) as error:
                self._failed(f"{directory}: {error}")
            await asyncio.sleep(_LOOK)

    async def keep_renewed(self, authority: AuthoritySettings, spiffe_id: str, cluster_id: str) -> None:
        """Ask the authority, now and whenever it is time."""
        wait = _FIRST_WAIT
        while True:
            self._figures.add("num_outgoing_requests", "csr")
            try:
                self.use(await request_certificate(authority, spiffe_id, cluster_id))
                wait = _FIRST_WAIT
            except (GrpcError, OSError, ValueError, IndexError) as error:
                self._figures.add("num_failed_outgoing_requests", "csr")
                self._failed(f"{authority.address}: {error}")
                await asyncio.sleep(wait * self._rng.uniform(0.75, 1.25))
                wait = min(wait * 2, _LONGEST_WAIT)
                continue
            assert self.current is not None
            delay = renewal_delay(self.current, utc_now(), self._rng, ratio=authority.ratio, jitter=authority.jitter)
            await asyncio.sleep(max(delay, _FIRST_WAIT))


async def request_certificate(authority: AuthoritySettings, spiffe_id: str, cluster_id: str) -> Credentials:
    """One certificate from the authority. Raises GrpcError, OSError, ValueError."""
    from meshproxy.agent.istio_messages import CREATE_CERTIFICATE, CertificateRequest, CertificateResponse

    key, request = make_request(spiffe_id, authority.key)
    host, port = authority.host_and_port
    own = _provisioned(authority)
    channel = await Channel.connect(host, port, tls=_client_tls(authority, own), server_name=authority.server_name)
    try:
        metadata = [("clusterid", cluster_id)]
        with contextlib.suppress(FileNotFoundError):
            if own is None:
                metadata.append(("authorization", f"Bearer {_read(authority.token).decode('ascii').strip()}"))
        message = CertificateRequest(csr=request.decode(), validity_duration=authority.lifetime)
        if authority.signer:
            message.metadata["CertSigner"] = authority.signer
        answer = await channel.unary(CREATE_CERTIFICATE, message.SerializeToString(), metadata=metadata)
    finally:
        channel.close()
    try:
        return read_chain(key, list(CertificateResponse.FromString(answer).cert_chain))
    except Exception as error:  # protobuf's own errors have no common base that is public
        raise ValueError(f"the authority's answer can't be used: {error}") from None


def _provisioned(authority: AuthoritySettings) -> tuple[Path, Path] | None:
    """The certificate and the key to be known by; None: there are none (yet), and the token is shown."""
    if authority.provisioned is None:
        return None
    files = authority.provisioned / "cert-chain.pem", authority.provisioned / "key.pem"
    return files if all(file.exists() for file in files) else None


def _client_tls(authority: AuthoritySettings, own: tuple[Path, Path] | None) -> ssl.SSLContext | None:
    """None for a port without TLS (15010)."""
    if authority.host_and_port[1] == 15010:
        return None
    context = ssl.create_default_context(cafile=str(authority.root) if authority.root is not None else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if own is not None:
        context.load_cert_chain(*own)
    return context


def _read(path: Path) -> bytes:
    return path.read_bytes()


def write_files(directory: Path, credentials: Credentials) -> None:
    """Write the three files, the key first. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    parts = (credentials.key, credentials.chain, credentials.root)
    for name, content, mode in zip(FILES, parts, (0o600, 0o644, 0o644), strict=True):
        draft = directory / f".{name}.new"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        draft.replace(directory / name)
