"""The names in certificates: distinguished ones as text, and alternative ones by their kind.

Distinguished names are written as RFC 2253 wants it, last part first, with the short names and the escapes of Envoy's
library, to the byte: policies and upstreams compare them. A part of a kind without a short name is written as its
number and the DER of its value.

Names that hold control characters are dropped, so that they match nothing and can't break a line or a header (NUL and
CRLF in names: CVE-2025-66220, CVE-2026-47778, CVE-2023-27493).
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from typing import NamedTuple

from meshproxy.runtime.tls import der
from meshproxy.runtime.tls.der import Element

_CONTROL = re.compile("[\x00-\x1f\x7f]")
# X.520, by the last number behind 2.5.4.
_DIRECTORY = {
    3: "CN", 4: "SN", 5: "serialNumber", 6: "C", 7: "L", 8: "ST", 9: "street", 10: "O", 11: "OU", 12: "title",
    13: "description", 14: "searchGuide", 15: "businessCategory", 16: "postalAddress", 17: "postalCode",
    18: "postOfficeBox", 19: "physicalDeliveryOfficeName", 20: "telephoneNumber", 21: "telexNumber",
    22: "teletexTerminalIdentifier", 23: "facsimileTelephoneNumber", 24: "x121Address", 25: "internationaliSDNNumber",
    26: "registeredAddress", 27: "destinationIndicator", 28: "preferredDeliveryMethod", 29: "presentationAddress",
    30: "supportedApplicationContext", 31: "member", 32: "owner", 33: "roleOccupant", 34: "seeAlso",
    35: "userPassword", 36: "userCertificate", 37: "cACertificate", 38: "authorityRevocationList",
    39: "certificateRevocationList", 40: "crossCertificatePair", 41: "name", 42: "GN", 43: "initials",
    44: "generationQualifier", 45: "x500UniqueIdentifier", 46: "dnQualifier", 47: "enhancedSearchGuide",
    48: "protocolInformation", 49: "distinguishedName", 50: "uniqueMember", 51: "houseIdentifier",
    52: "supportedAlgorithms", 53: "deltaRevocationList", 54: "dmdName", 65: "pseudonym", 72: "role",
}  # fmt: skip
# RFC 4524 and RFC 1274, by the last number behind 0.9.2342.19200300.100.1.
_PILOT = {
    1: "UID", 2: "textEncodedORAddress", 3: "mail", 4: "info", 5: "favouriteDrink", 6: "roomNumber", 7: "photo",
    8: "userClass", 9: "host", 10: "manager", 11: "documentIdentifier", 12: "documentTitle", 13: "documentVersion",
    14: "documentAuthor", 15: "documentLocation", 20: "homeTelephoneNumber", 21: "secretary", 22: "otherMailbox",
    23: "lastModifiedTime", 24: "lastModifiedBy", 25: "DC", 26: "aRecord", 27: "pilotAttributeType27", 28: "mXRecord",
    29: "nSRecord", 30: "sOARecord", 31: "cNAMERecord", 37: "associatedDomain", 38: "associatedName",
    39: "homePostalAddress", 40: "personalTitle", 41: "mobileTelephoneNumber", 42: "pagerTelephoneNumber",
    43: "friendlyCountryName", 45: "organizationalStatus", 46: "janetMailbox", 47: "mailPreferenceOption",
    48: "buildingName", 49: "dSAQuality", 50: "singleLevelQuality", 51: "subtreeMinimumQuality",
    52: "subtreeMaximumQuality", 53: "personalSignature", 54: "dITRedirect", 55: "audio", 56: "documentPublisher",
}  # fmt: skip
_SHORT_NAMES = {
    **{f"2.5.4.{number}": name for number, name in _DIRECTORY.items()},
    **{f"0.9.2342.19200300.100.1.{number}": name for number, name in _PILOT.items()},
    "1.2.840.113549.1.9.1": "emailAddress",
    "1.2.840.113549.1.9.2": "unstructuredName",
    "1.2.840.113549.1.9.7": "challengePassword",
    "1.2.840.113549.1.9.8": "unstructuredAddress",
    "1.2.840.113549.1.9.20": "friendlyName",
}
COMMON_NAME = "2.5.4.3"
_STRINGS = {
    12: "utf-8",
    18: "latin-1",
    19: "latin-1",
    20: "latin-1",
    22: "latin-1",
    26: "latin-1",
    28: "utf-32-be",
    30: "utf-16-be",
}
"""How the text of ASN.1's kinds of strings is read, by their tags (X.680 section 8.4)."""


def text_of(value: Element) -> str | None:
    """The text of an ASN.1 string; None for anything else."""
    encoding = _STRINGS.get(value.tag)
    if encoding is None:
        return None
    try:
        return value.content.decode(encoding)
    except UnicodeDecodeError:
        return None


def is_clean(name: str) -> bool:
    """Whether a name may match anything, and stand in headers and logs."""
    return not _CONTROL.search(name)


Attribute = tuple[str, Element]


def attributes(name: Element) -> list[list[Attribute]]:
    """The parts of a distinguished name, each of one or more kinds with their values. Raises ValueError."""
    return [
        [(der.oid_text(kind.content), value) for kind, value in map(der.inside, der.inside(part, der.SET))]
        for part in der.inside(name)
    ]


def name_text(name: list[list[Attribute]]) -> str:
    """A distinguished name as RFC 2253 has it."""
    return ",".join("+".join(_attribute(*each) for each in reversed(part)) for part in reversed(name))


def _attribute(kind: str, value: Element) -> str:
    short, text = _SHORT_NAMES.get(kind), text_of(value)
    if short is None or text is None:
        return f"{short or kind}=#{value.whole.hex().upper()}"
    return f"{short}={_escape(text)}"


def _escape(value: str) -> str:
    """RFC 2253 section 2.4; control characters and everything beyond ASCII as hex pairs of their UTF-8."""
    escaped = []
    last = len(value) - 1
    for position, character in enumerate(value):
        if character in ',+"\\<>;' or (position == 0 and character in "# ") or (position == last and character == " "):
            escaped.append("\\" + character)
        elif character.isascii() and character.isprintable():
            escaped.append(character)
        else:
            escaped.append("".join(f"\\{byte:02X}" for byte in character.encode()))
    return "".join(escaped)


class AlternativeNames(NamedTuple):
    """Those of each kind in their order. other: kinds, as dotted object identifiers, with their texts."""

    uri: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    ip: tuple[str, ...] = ()
    email: tuple[str, ...] = ()
    other: tuple[tuple[str, str], ...] = ()


_URI, _DNS, _IP, _EMAIL, _OTHER = 0x86, 0x82, 0x87, 0x81, 0xA0  # RFC 5280 section 4.2.1.6


def alternative_names(extension: bytes) -> AlternativeNames:
    """A subjectAltName. Bytes beyond ASCII are read as Latin-1, as headers are. Raises ValueError."""
    (names,) = der.elements(extension)
    found = der.inside(names)
    return AlternativeNames(
        tuple(_texts(found, _URI)),
        tuple(_texts(found, _DNS)),
        tuple(_ip(name.content) for name in found if name.tag == _IP),
        tuple(_texts(found, _EMAIL)),
        tuple(_other_names(found)),
    )


def _texts(names: list[Element], tag: int) -> Iterator[str]:
    return filter(is_clean, (name.content.decode("latin-1") for name in names if name.tag == tag))


def _ip(content: bytes) -> str:
    family = {4: socket.AF_INET, 16: socket.AF_INET6}.get(len(content))
    return socket.inet_ntop(family, content) if family is not None else ""


def _other_names(names: list[Element]) -> Iterator[tuple[str, str]]:
    """Without those that aren't text."""
    for name in names:
        if name.tag == _OTHER:
            kind, tagged = der.elements(name.content)
            (value,) = der.elements(tagged.content)
            text = text_of(value)
            if text is not None and is_clean(text):
                yield der.oid_text(kind.content), text
