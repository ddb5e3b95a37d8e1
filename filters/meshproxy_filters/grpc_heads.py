"""What heads and trailers say of gRPC (gRPC over HTTP2, "Requests" and "Responses")."""

from __future__ import annotations

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders

FRAME_HEAD = 5
"""Bytes before each message: a flag of compression, and the length."""


def is_grpc(content_type: str | None) -> bool:
    """Whether this is the content type of gRPC, with or without the kind of its messages."""
    return content_type is not None and content_type.startswith("application/grpc") and content_type[16:17] in ("", "+")


def is_grpc_request(request: RequestHeaders) -> bool:
    return bool(request.path) and is_grpc(request.get("content-type"))


def is_grpc_response(response: ResponseHeaders, end: bool) -> bool:
    """Whether this begins an answer of gRPC. end: there is nothing else, so the status must be here."""
    if end:
        return "grpc-status" in response.fields
    return response.status == 200 and is_grpc(response.get("content-type"))


def grpc_status(fields: Headers | ResponseHeaders) -> int | None:
    """The status of gRPC; -1 for one that is no number, None without one."""
    text = fields.get("grpc-status")
    if text is None or text == "":
        return None
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 10 else -1


def frame(message: bytes) -> bytes:
    """A message with its head, uncompressed."""
    return frame_head(len(message)) + message


def frame_head(size: int) -> bytes:
    """The head of an uncompressed message of so many bytes."""
    return b"\0" + size.to_bytes(4, "big")
