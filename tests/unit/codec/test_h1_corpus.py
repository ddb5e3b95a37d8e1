"""Every case of the raw HTTP/1 corpora, in three feedings, against what Envoy 1.40 did."""

from __future__ import annotations

import pytest

from tests.unit.codec.corpus import Case, cases
from tests.unit.codec.recording import CUTS, Cut, RequestRecorder, ResponseRecorder

FOLD = "a folded line in a request (RFC 9112 section 5.2 lets a server refuse it); Envoy unfolds it"
BARE_CR = "a bare CR (RFC 9112 section 2.2); Envoy deletes it"
BARE_LF = "a bare LF as line end; Envoy takes it outside of chunk lines"
EXTENSION = "more than 4 KiB of chunk extensions; Envoy reads them without a limit"
CUT_SHORT = "a truncated request is an error for the owner, who closes without an answer, as Envoy does"

# What we do where it isn't what Envoy did, and why.
REQUESTS = {
    "cl-15": ("rejected 400", "a length beyond 10^18 can only be an attack; Envoy waits for the bytes"),
    "cl-30": ("rejected 400", CUT_SHORT),
    "cl-31": ("rejected 400", CUT_SHORT),
    "te-21": ("rejected 400", BARE_CR),
    "clte-06": ("rejected 400", FOLD),
    "clte-10": ("rejected 400", BARE_CR),
    "clte-22": ("rejected 400", FOLD),
    "chunk-12": ("rejected 400", "a chunk beyond 2^60 bytes; Envoy waits for the bytes"),
    "chunk-15": ("rejected 400", "5,000 leading zeros count as chunk extensions"),
    "chunk-24": ("rejected 400", "NUL in a chunk extension"),
    "chunk-29": ("rejected 400", EXTENSION),
    "chunk-30": ("rejected 400", EXTENSION),
    "chunk-35": ("rejected 400", CUT_SHORT),
    "chunk-36": ("rejected 400", CUT_SHORT),
    "chunk-37": ("rejected 400", CUT_SHORT),
    "chunk-41": ("rejected 400", "junk between chunk size and line end"),
    "trailer-09": ("rejected 400", BARE_LF),
    "trailer-11": ("rejected 400", FOLD),
    "trailer-14": ("rejected 431", "trailers have the limits of headers; Envoy drops 200 unseen"),
    "fold-01": ("rejected 400", FOLD),
    "fold-02": ("rejected 400", FOLD),
    "fold-07": ("rejected 400", FOLD),
    "ctl-07": ("rejected 400", BARE_CR),
    "ctl-21": ("rejected 400", BARE_LF),
    "host-07": ("rejected 400", "userinfo in Host (RFC 9110 section 7.2)"),
    "host-13": ("rejected 400", "port 99999 in Host"),
    "target-12": ("forwarded", "CONNECT is legal; the route table decides that it's 404"),
    "line-11": ("rejected 400", "two spaces in the request line (RFC 9112 section 3)"),
    "line-13": ("rejected 400", "a space behind the version"),
    "line-33": ("rejected 426", "Envoy logs 426 too, but the client has closed"),
    "h2-01": ("rejected 400", "Envoy's codec says 400; what it did here was measured with codec_type AUTO"),
    "h2-03": ("rejected 400", "as h2-01"),
    "h2-04": ("rejected 400", CUT_SHORT),
    "h2-06": ("rejected 400", "one request is forwarded, then 400 for the preface behind it, as Envoy does"),
    "h2-09": ("forwarded", "an upgrade is legal; the connection manager decides that it's 403"),
    "line-38": ("waiting", "no request has begun"),
    "pipe-15": ("waiting", "the head isn't complete"),
    "chunk-10": ("waiting", "the chunk isn't complete"),
}

RESPONSES = {
    "r-chunk-09": ("aborted 200", EXTENSION),
    "r-line-02": ("error 502", "four digits of status; Envoy reads 100 and waits"),
    "r-line-09": ("error 502", "HTTP/2.0 isn't HTTP/1"),
    "r-line-14": ("error 502", "two spaces in the status line"),
    "r-line-15": ("error 502", "TAB in the status line"),
    "r-hdr-20": ("error 502", BARE_LF),
    "r-1xx-04": ("error 502", "at most 100 informational responses"),
    "r-1xx-06": ("error 502", "101 that nobody asked for"),
    "r-early-01": ("passed 413", "Envoy's line names the probe's status"),
    "r-early-03": ("passed 417", "Envoy's line names the probe's status"),
    "r-early-08": ("passed 200", "Envoy refused the request itself: no upgrade was configured"),
}

SLOW_TO_CUT = 3_000


def request_verdict(case: Case, cut: Cut) -> tuple[str, RequestRecorder]:
    got = RequestRecorder().feed(cut(case.raw), case.eof)
    if got.error:
        return f"rejected {got.error.status}", got
    return "forwarded" if got.complete == max(1, len(case.upstream)) else "waiting", got


def response_verdict(case: Case, cut: Cut) -> tuple[str, ResponseRecorder]:
    got = ResponseRecorder(case.method).feed(cut(case.raw), case.eof)
    if not got.heads:
        return f"error {got.error.status}" if got.error else "waiting", got
    ending = "passed" if got.complete else "aborted" if got.error else "waiting"
    return f"{ending} {got.heads[0].status}", got  # type: ignore[union-attr]  # a response's


@pytest.mark.parametrize("feeding", CUTS)
@pytest.mark.parametrize("case", cases("requests.jsonl"), ids=lambda case: case.id)
def test_requests(case: Case, feeding: str) -> None:
    cut = CUTS["whole" if len(case.raw) > SLOW_TO_CUT else feeding]
    verdict, got = request_verdict(case, cut)
    assert verdict == REQUESTS.get(case.id, (case.verdict, ""))[0]
    if case.id not in REQUESTS and verdict == "forwarded":
        for head, body, wanted in zip(got.heads, got.bodies, case.upstream, strict=True):
            assert head.method == wanted["method"]  # type: ignore[union-attr]  # a request's
            assert head.path.startswith(wanted["target"][:100])  # type: ignore[union-attr]  # a request's
            assert len(body) == wanted["body_len"]
    assert got.summary() == request_verdict(case, CUTS["whole"])[1].summary()


@pytest.mark.parametrize("feeding", CUTS)
@pytest.mark.parametrize("case", cases("responses.jsonl"), ids=lambda case: case.id)
def test_responses(case: Case, feeding: str) -> None:
    cut = CUTS["whole" if len(case.raw) > SLOW_TO_CUT else feeding]
    verdict, got = response_verdict(case, cut)
    assert verdict == RESPONSES.get(case.id, (case.verdict, ""))[0]
    assert got.bodies == response_verdict(case, CUTS["whole"])[1].bodies
    # Nothing of this connection may reach the next client: either it's clean, or it isn't used again.
    if b"EVIL" in case.raw:
        assert b"EVIL" not in b"".join(got.bodies) or case.id == "r-early-08"  # there the connection ends the body
        assert not got.parser.keep_alive
        assert not got.parser.idle()


@pytest.mark.parametrize(("name", "table"), [("requests.jsonl", REQUESTS), ("responses.jsonl", RESPONSES)])
def test_every_difference_is_one(name: str, table: dict[str, tuple[str, str]]) -> None:
    for case in cases(name):
        if case.id in table:
            verdict, reason = table[case.id]
            assert verdict != case.verdict
            assert reason
    assert table.keys() <= {case.id for case in cases(name)}


def test_what_is_laxer_than_envoy_is_known() -> None:
    laxer = {id for id, (verdict, _) in REQUESTS.items() if verdict == "forwarded"}
    assert laxer == {"target-12", "h2-09"}  # both are refused further on
