"""Certificates for tests: good ones, and ones with every fault that a peer may show."""

from __future__ import annotations

import atexit
import base64
import ctypes
import datetime
import ipaddress
import json
import ssl
import tempfile
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from meshproxy.runtime.tls import openssl

_SET_STATUS_TYPE, _GET_RESPONSE = 65, 70  # of openssl/tls1.h
SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
_NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
_DAY = datetime.timedelta(days=1)


def uri(value: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(value)


def dns(value: str) -> x509.GeneralName:
    return x509.DNSName(value)


def ip(value: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(value))


def email(value: str) -> x509.GeneralName:
    return x509.RFC822Name(value)


UPN = "1.3.6.1.4.1.311.20.2.3"


def upn(value: str) -> x509.GeneralName:
    """A user principal name, the commonest of the other names: an UTF8String."""
    return x509.OtherName(x509.ObjectIdentifier(UPN), bytes((12, len(value))) + value.encode())


@dataclass(frozen=True)
class Issued:
    """A certificate with its key and those that vouch for it, leaf first."""

    certificate: x509.Certificate
    key: Any
    chain: tuple[x509.Certificate, ...]

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return b"".join(each.public_bytes(Encoding.PEM) for each in self.chain)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def encrypted_key_pem(self, password: bytes) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))

    def write(self, directory: Path, name: str) -> Issued:
        (directory / f"{name}.pem").write_bytes(self.pem)
        (directory / f"{name}.key").write_bytes(self.key_pem)
        return self


def new_key(kind: str = "ec") -> Any:
    return rsa.generate_private_key(65537, int(kind[3:] or 2048)) if kind.startswith("rsa") else _CURVES[kind]()


_CURVES = {
    "ec": lambda: ec.generate_private_key(ec.SECP256R1()),
    "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
}


class Authority:
    """Issues certificates; itself signed by `parent`, if there is one."""

    def __init__(self, name: str, parent: Authority | None = None) -> None:
        self.name = x509.Name(
            [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Mesh"), x509.NameAttribute(NameOID.COMMON_NAME, name)]
        )
        self.key = new_key()
        issuer = parent or self
        public = self.key.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name)
            .issuer_name(issuer.name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(_NOW - _DAY)
            .not_valid_after(_NOW + 3650 * _DAY)
            .add_extension(x509.BasicConstraints(True, None), True)
            .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        )
        self.certificate = builder.sign(issuer.key, hashes.SHA256())
        self.chain: tuple[x509.Certificate, ...] = (self.certificate, *parent.chain) if parent is not None else ()

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        common_name: str = "",
        *names: x509.GeneralName,
        kind: str = "ec",
        usages: tuple[x509.ObjectIdentifier, ...] = (SERVER, CLIENT),
        starts: int = -1,
        ends: int = 365,
        signs: bool = True,
        must_staple: bool = False,
    ) -> Issued:
        """starts, ends: days from now. usages: EKU, () for none. signs: key usage digitalSignature."""
        key = new_key(kind)
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Mesh")]
        if common_name:
            subject.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(subject))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(_NOW + starts * _DAY)
            .not_valid_after(_NOW + ends * _DAY)
            .add_extension(x509.BasicConstraints(False, None), True)
            .add_extension(x509.KeyUsage(signs, False, True, False, False, False, False, False, False), True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
        if must_staple:
            builder = builder.add_extension(x509.TLSFeature([x509.TLSFeatureType.status_request]), False)
        certificate = builder.sign(self.key, hashes.SHA256())
        return Issued(certificate, key, (certificate, *self.chain))

    def vouch(self, issued: Issued, *, starts: int = -1, ends: int | None = 365, status: str = "GOOD") -> bytes:
        """An OCSP response in DER. starts, ends: days from now; status: a name of `ocsp.OCSPCertStatus`."""
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=issued.certificate,
            issuer=self.certificate,
            algorithm=hashes.SHA1(),
            cert_status=ocsp.OCSPCertStatus[status],
            this_update=_NOW + starts * _DAY,
            next_update=_NOW + ends * _DAY if ends is not None else None,
            revocation_time=_NOW - _DAY if status == "REVOKED" else None,
            revocation_reason=None,
        )
        by_hash = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self.certificate)
        return by_hash.sign(self.key, hashes.SHA256()).public_bytes(Encoding.DER)

    def revoke(self, *revoked: Issued) -> bytes:
        """A CRL in PEM."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.name)
            .last_update(_NOW - _DAY)
            .next_update(_NOW + 365 * _DAY)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), False)
        )
        for each in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number)
            builder = builder.add_revoked_certificate(entry.revocation_date(_NOW - _DAY).build())
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)


ID = "spiffe://cluster.local/ns/default/sa/"


@dataclass(frozen=True)
class Folder:
    """A folder with one mesh's certificates: `<name>.pem`, `<name>.key`."""

    path: Path
    issued: dict[str, Issued]

    def client_context(
        self,
        name: str = "client",
        *,
        ca: str = "ca",
        alpn: tuple[str, ...] = (),
        version: ssl.TLSVersion | None = None,
        ciphers: str = "",
        group: str = "",
        staple: bool = False,
    ) -> ssl.SSLContext:
        """A client that shows certificate `name` ("" for none) and trusts `ca`, whatever name it is for.

        staple: ask for an OCSP response.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(self.path / f"{ca}.pem")
        if name:
            context.load_cert_chain(self.path / f"{name}.pem", self.path / f"{name}.key")
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if version is not None:
            _set_version(context, version)
        if ciphers:
            context.set_ciphers(ciphers)
        if group:
            context.set_ecdh_curve(group)
        if staple:
            ask_for_staple(context)
        return context

    def server_context(
        self, name: str = "server", *, ca: str = "", alpn: tuple[str, ...] = (), version: ssl.TLSVersion | None = None
    ) -> ssl.SSLContext:
        """A server with certificate `name`; `ca` is whom its clients must be vouched for by, "" for no such wish."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path / f"{name}.pem", self.path / f"{name}.key")
        if ca:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.path / f"{ca}.pem")
        if alpn:
            context.set_alpn_protocols(list(alpn))
        if version is not None:
            _set_version(context, version)
        return context


def ask_for_staple(context: ssl.SSLContext) -> None:
    """Have a client ask for an OCSP response."""
    openssl.library().SSL_CTX_ctrl(openssl.context_pointer(context), _SET_STATUS_TYPE, 1, None)


def staple_of(tls: ssl.SSLObject) -> bytes:
    """The OCSP response that a server has shown; b"" for none."""
    place = ctypes.c_void_p()
    size = openssl.library().SSL_ctrl(openssl.object_pointer(tls), _GET_RESPONSE, 0, ctypes.byref(place))
    return ctypes.string_at(place.value, size) if place.value and size > 0 else b""


def _set_version(context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what is old is what is tested
        context.minimum_version = context.maximum_version = version


def bundle_map(domains: dict[str, list[Authority]]) -> str:
    """A SPIFFE bundle map, one key for each authority."""

    def key(authority: Authority) -> dict[str, object]:
        der = authority.certificate.public_bytes(Encoding.DER)
        return {"use": "x509-svid", "kty": "EC", "x5c": [base64.b64encode(der).decode()]}

    bundles = {name: {"keys": [key(each) for each in authorities]} for name, authorities in domains.items()}
    return json.dumps({"trust_domains": bundles})


@cache
def folder() -> Folder:
    """The certificates that most tests use; made once per process, deleted at its end."""
    directory = tempfile.TemporaryDirectory(prefix="certificates-")
    atexit.register(directory.cleanup)
    path = Path(directory.name)
    root, other = Authority("root"), Authority("other")
    middle = Authority("middle", root)
    lower = Authority("lower", middle)
    sans = (dns("server.test"), dns("*.wild.test"), ip("127.0.0.1"))
    issued = {
        "server": root.issue("server", uri(ID + "server"), *sans),
        "server-rsa": root.issue("server", uri(ID + "server"), *sans, kind="rsa"),
        "two": root.issue("two", dns("two.test"), dns("*.two.test")),
        "client": root.issue("client", uri(ID + "client"), dns("client.test"), dns("client2.test"), email("a@b.test")),
        "middle-client": middle.issue("middle-client", uri(ID + "client")),
        "lower-client": lower.issue("lower-client", uri(ID + "client")),
        "p384": root.issue("p384", uri(ID + "client"), *sans, kind="p384"),
        "other-name": root.issue("other-name", upn("user@mesh.test")),
        "foreign": root.issue("foreign", uri("spiffe://other.domain/ns/default/sa/client")),
        "nameless": root.issue("nameless"),
        "untrusted": other.issue("untrusted", uri(ID + "client")),
        "untrusted-server": other.issue("server", uri(ID + "server"), *sans),
        "expired": root.issue("expired", uri(ID + "client"), *sans, starts=-30, ends=-1),
        "future": root.issue("future", uri(ID + "client"), *sans, starts=30),
        "server-only": root.issue("server-only", uri(ID + "client"), *sans, usages=(SERVER,)),
        "client-only": root.issue("client-only", uri(ID + "client"), *sans, usages=(CLIENT,)),
        "revoked": root.issue("revoked", uri(ID + "client")),
        "must-staple": root.issue("must-staple", *sans, must_staple=True),
        "other-domain": other.issue("other-domain", uri("spiffe://other.domain/sa/x")),
    }
    for name, each in issued.items():
        each.write(path, name)
    for name, authority in {"ca": root, "ca2": other, "middle": middle}.items():
        (path / f"{name}.pem").write_bytes(authority.pem)
    (path / "middle-alone.pem").write_bytes(issued["middle-client"].chain[0].public_bytes(Encoding.PEM))
    (path / "middle-alone.key").write_bytes(issued["middle-client"].key_pem)
    (path / "both.pem").write_bytes(root.pem + other.pem)
    (path / "crl.pem").write_bytes(root.revoke(issued["revoked"]))
    responses = {
        "server": root.vouch(issued["server"]),
        "server-rsa": root.vouch(issued["server-rsa"]),
        "must-staple": root.vouch(issued["must-staple"]),
        "must-staple-expired": root.vouch(issued["must-staple"], starts=-3, ends=-1),
        "expired": root.vouch(issued["server"], starts=-3, ends=-1),
        "endless": root.vouch(issued["server"], ends=None),
        "future": root.vouch(issued["server"], starts=3, ends=5),
        "revoked": root.vouch(issued["server"], status="REVOKED"),
    }
    for name, response in responses.items():
        (path / f"{name}.ocsp").write_bytes(response)
    domains = {"cluster.local": [root], "other.domain": [other]}
    (path / "bundles.json").write_text(bundle_map(domains))
    (path / "bundles-lower.json").write_text(bundle_map({"cluster.local": [lower]}))
    (path / "bundles-both.json").write_text(bundle_map({"cluster.local": [root, lower]}))
    (path / "garbage.pem").write_text("no certificate")
    return Folder(path, issued)
