"""What a DNS query is answered with from the name table, as bytes to bytes (RFC 1035, RFC 6891).

A name of the mesh is answered here: addresses of the family that was asked for, in changing order; a known name without
such addresses has an empty answer and not NXDOMAIN, or resolvers would stop asking for the other family. Everything
else (other names, other types) is somebody else's to answer.
"""

from __future__ import annotations

import random

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from meshproxy.agent.names.name_table import NameTable

TTL = 30
_PLAIN_SIZE = 512
_MAX_SIZE = 4096


def answer(query: bytes, table: NameTable, rng: random.Random, *, tcp: bool) -> bytes | None:
    """The answer, or None for a query that has to be passed on. Raises ValueError for what is no query."""
    try:
        message = dns.message.from_wire(query, ignore_trailing=False)
    except (dns.exception.DNSException, ValueError, IndexError) as error:
        raise ValueError(f"no DNS query: {error}") from None
    if message.flags & dns.flags.QR or message.opcode() != dns.opcode.QUERY or len(message.question) != 1:
        raise ValueError("no DNS query with one question")
    question = message.question[0]
    if question.rdclass != dns.rdataclass.IN or question.rdtype not in (dns.rdatatype.A, dns.rdatatype.AAAA):
        return None
    found = table.find(question.name.to_text(omit_final_dot=True))
    if found is None:
        return None
    response = dns.message.make_response(message, recursion_available=True)
    response.flags |= dns.flags.AA
    owner = question.name
    if found.alias:
        target = dns.name.from_text(found.alias)
        response.answer.append(dns.rrset.from_text(owner, TTL, "IN", "CNAME", target.to_text()))
        owner = target
    ips = list(found.v4 if question.rdtype == dns.rdatatype.A else found.v6)
    rng.shuffle(ips)
    if ips:
        response.answer.append(dns.rrset.from_text(owner, TTL, "IN", dns.rdatatype.to_text(question.rdtype), *ips))
    return _to_wire(response, message, tcp)


def refuse(query: bytes) -> bytes | None:
    """SERVFAIL for a query that nobody answered; None if it can't even be told what it was."""
    try:
        message = dns.message.from_wire(query, question_only=True)
    except (dns.exception.DNSException, ValueError, IndexError):
        return None
    response = dns.message.make_response(message, recursion_available=True)
    response.set_rcode(dns.rcode.SERVFAIL)
    return response.to_wire()


def _to_wire(response: dns.message.Message, query: dns.message.Message, tcp: bool) -> bytes:
    if tcp:
        return response.to_wire(max_size=65535)
    size = min(max(query.payload, _PLAIN_SIZE), _MAX_SIZE) if query.edns >= 0 else _PLAIN_SIZE
    try:
        return response.to_wire(max_size=size)
    except dns.exception.TooBig:
        response.answer.clear()
        response.flags |= dns.flags.TC  # ask again over TCP
        return response.to_wire(max_size=size)
