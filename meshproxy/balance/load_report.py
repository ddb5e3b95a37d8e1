"""Load reports: what a host says of its own load in the fields or trailers of a response (ORCA).

The message is xds.data.orca.v3.OrcaLoadReport (gRFC A51). It comes as `endpoint-load-metrics` in one of three forms,
each with a word in front (`TEXT name:value, ...`, `JSON {...}`, `BIN <base64>`), or as `endpoint-load-metrics-bin`.
A report that can't be read says nothing: hosts are free to send what they like.
"""

from __future__ import annotations

import binascii
import math
from base64 import b64decode
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from xds.data.orca.v3.orca_load_report_pb2 import OrcaLoadReport

_FIELD = "endpoint-load-metrics"
_BINARY_FIELD = "endpoint-load-metrics-bin"
_NAMED = "named_metrics."
_MAPS = (_NAMED, "utilization.", "request_cost.")
_PLAIN = ("cpu_utilization", "mem_utilization", "application_utilization", "eps", "rps_fractional")


class Fields(Protocol):
    """What of `meshproxy.headers.Headers` is read here."""

    def get(self, name: str, default: None = None) -> str | None: ...


class Reader(Protocol):
    """Who wants to know what a host reports."""

    def on_report(self, report: OrcaLoadReport) -> None: ...


class HostReports:
    """The reports in one host's answers, read once for all who want them (`Host.loads`)."""

    __slots__ = ("_readers",)

    def __init__(self) -> None:
        self._readers: tuple[Reader, ...] = ()

    def read_by(self, reader: Reader) -> None:
        """One more wants to know."""
        self._readers += (reader,)

    def on_answer(self, fields: Fields) -> bool:
        """A response has begun, or ended with these trailers. Returns whether there was a report in it."""
        report = read_load_report(fields)
        if report is None:
            return False
        for reader in self._readers:
            reader.on_report(report)
        return True


def reports_of(host: Reporting) -> HostReports:
    """What reads a host's reports, from now on if nothing did."""
    if host.loads is None:
        host.loads = HostReports()
    return host.loads


class Reporting(Protocol):
    """What of `meshproxy.balance.host.Host` is used here."""

    loads: HostReports | None


def read_load_report(fields: Fields) -> OrcaLoadReport | None:
    """The report in the fields of a response, or in its trailers; None without one, or for one that can't be read."""
    binary = fields.get(_BINARY_FIELD)
    try:
        if binary is not None:
            return _from_binary(binary)
        given = fields.get(_FIELD)
        if given is None:
            return None
        form, _, value = given.partition(" ")
        read = {"TEXT": _from_text, "JSON": _from_json, "BIN": _from_binary}.get(form)
        return read(value) if read is not None else None
    except ValueError:
        return None


def _new() -> OrcaLoadReport:
    from xds.data.orca.v3.orca_load_report_pb2 import OrcaLoadReport  # few clusters ask for reports

    return OrcaLoadReport()


def _from_binary(text: str) -> OrcaLoadReport:
    from google.protobuf.message import DecodeError

    report = _new()
    try:
        report.ParseFromString(b64decode(text + "=" * (-len(text) % 4), validate=True))
    except (binascii.Error, DecodeError) as error:
        raise ValueError(str(error)) from error
    return report


def _from_json(text: str) -> OrcaLoadReport:
    from google.protobuf.json_format import Parse, ParseError

    report = _new()
    try:
        Parse(text, report, ignore_unknown_fields=True)
    except ParseError as error:
        raise ValueError(str(error)) from error
    return report


def _from_text(text: str) -> OrcaLoadReport:
    """`name:value` separated by commas. Raises ValueError for a name that is unknown or comes twice, or no number."""
    report = _new()
    names: set[str] = set()
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = entry.partition(":")
        number = float(value)
        if name in names or not math.isfinite(number) or "_" in value:
            raise ValueError(entry)
        names.add(name)
        if name.startswith(_NAMED) and name != _NAMED:
            report.named_metrics[name.removeprefix(_NAMED)] = number
        elif name in _PLAIN:
            setattr(report, name, number)
        else:
            raise ValueError(entry)
    return report


def utilization(report: OrcaLoadReport, metrics: Iterable[str]) -> float:
    """How busy the host says it is: `application_utilization`, else the largest of `metrics`, else the CPU's."""
    if report.application_utilization > 0:
        return float(report.application_utilization)
    largest = max((_metric(report, name) for name in metrics), default=0.0)
    return largest if largest > 0 else float(report.cpu_utilization)


def _metric(report: OrcaLoadReport, name: str) -> float:
    """A value by its name: a field, `<map>.<key>`, or `<map>.*` for the largest of a map."""
    if name in _PLAIN:
        return float(getattr(report, name))
    return max((value for _, value in _of_map(report, name)), default=0.0)


def named_metrics(report: OrcaLoadReport, names: Iterable[str]) -> Iterator[tuple[str, float]]:
    """The values of a report that are asked for: fields, which are always there, and what its maps have of the others.

    A name may be that of a field, `<map>.<key>`, or `<map>.*` for all of a map.
    """
    for name in names:
        if name in _PLAIN:
            yield name, float(getattr(report, name))
        else:
            yield from _of_map(report, name)


def _of_map(report: OrcaLoadReport, name: str) -> Iterator[tuple[str, float]]:
    prefix = next((prefix for prefix in _MAPS if name.startswith(prefix)), "")
    if not prefix:
        return
    values = getattr(report, prefix[:-1])
    key = name.removeprefix(prefix)
    if key == "*":
        yield from ((f"{prefix}{one}", float(value)) for one, value in values.items())
    elif key in values:
        yield name, float(values[key])
