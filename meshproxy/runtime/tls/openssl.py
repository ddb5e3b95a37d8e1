"""What OpenSSL can do and `ssl` has no words for, asked of the very library that `ssl` itself has loaded.

Theory: `ssl` sets one group, no signature algorithms and no lifetime of sessions, asks for no certificate that it isn't
to verify, and of what a handshake agreed on it tells the suite alone. OpenSSL's functions do all that, on the `SSL_CTX`
and `SSL` that Python's objects hold: the first member behind the object header of an `SSLContext`, the second of the
object inside of an `SSLObject`, in every version of CPython that meshproxy runs on. `_ssl`, opened once more, resolves
to the OpenSSL that it is linked with.

Invariants:
- nothing is asked where `library()` is None: where `_ssl` doesn't export OpenSSL (it is linked into the interpreter),
  or Python's objects don't look as expected: the options of an `SSLContext`, read both ways, differ, or what stands
  beside the `SSL` of an `SSLObject` isn't its context. What needs it is refused there;
- no pointer is kept beyond the call: the Python object owns what it points to. One that `object_pointer` gives is a
  name for the handshake, as long as that lasts;
- what OpenSSL is to call back is kept by the context that it was given to (`keep`).
"""

from __future__ import annotations

import ctypes
import ssl
from collections.abc import Sequence
from functools import cache
from typing import Any

# Commands of `SSL_CTX_ctrl` and `SSL_ctrl`, and values for them, of openssl/ssl.h.
_SET_SESSION_CACHE_MODE = 44
_SET_SERVER_NAME = 55
_SET_GROUPS = 92
_SET_SIGNATURE_ALGORITHMS = 98
_GET_PEER_SIGNATURE_DIGEST = 108
_GET_NEGOTIATED_GROUP = 134
_NO_SESSIONS = 0
_NOTHING_CAME, _HELLO_SENT = 0, 12  # TLS_ST_BEFORE and TLS_ST_CW_CLNT_HELLO
_VERIFY_PEER, _FAIL_WITHOUT_CERTIFICATE = 1, 2

_HEADER = object.__basicsize__
_POINTER = ctypes.sizeof(ctypes.c_void_p)
_ACCEPT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)(lambda _verified, _store: 1)

POST_QUANTUM_GROUP = "X25519MLKEM768"
_GROUPS = {
    415: "P-256",
    715: "P-384",
    716: "P-521",
    1034: "X25519",
    1035: "X448",
    0x1000000 | 0x11EC: POST_QUANTUM_GROUP,
}
"""By the numbers of openssl/obj_mac.h, as BoringSSL names them; a group without one there has TLS's own, marked."""
_ED25519 = 1087
_SIGNATURES = {
    (408, 64): "ecdsa_sha1",
    (408, 672): "ecdsa_secp256r1_sha256",
    (408, 673): "ecdsa_secp384r1_sha384",
    (408, 674): "ecdsa_secp521r1_sha512",
    (6, 64): "rsa_pkcs1_sha1",
    (6, 672): "rsa_pkcs1_sha256",
    (6, 673): "rsa_pkcs1_sha384",
    (6, 674): "rsa_pkcs1_sha512",
    (912, 672): "rsa_pss_rsae_sha256",
    (912, 673): "rsa_pss_rsae_sha384",
    (912, 674): "rsa_pss_rsae_sha512",
}
"""By the numbers of key and digest."""


@cache
def library() -> Any:
    """OpenSSL as `ssl` uses it, or None where it can't be reached."""
    try:
        import _ssl

        found = ctypes.CDLL(_ssl.__file__)
        found.SSL_CTX_get_options.argtypes = [ctypes.c_void_p]
        found.SSL_CTX_get_options.restype = ctypes.c_uint64
        found.SSL_CTX_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p]
        found.SSL_CTX_ctrl.restype = ctypes.c_long
        found.SSL_ctrl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p]
        found.SSL_ctrl.restype = ctypes.c_long
        found.SSL_get_verify_result.argtypes = [ctypes.c_void_p]
        found.SSL_get_verify_result.restype = ctypes.c_long
        found.SSL_get_state.argtypes = [ctypes.c_void_p]
        found.SSL_get_version.argtypes = [ctypes.c_void_p]
        found.SSL_get_version.restype = ctypes.c_char_p
        found.SSL_CTX_set_timeout.argtypes = [ctypes.c_void_p, ctypes.c_long]
        found.SSL_CTX_set_verify.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
        found.SSL_CTX_set_verify.restype = None
        found.SSL_get_peer_signature_type_nid.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_int)]
    except (AttributeError, OSError, ImportError):
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION
    if found.SSL_CTX_get_options(context_pointer(context)) != int(context.options):
        return None
    tls = context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True)
    return found if _member(inside(tls), 2) == id(context) else None


def function(name: str, result: Any, *arguments: Any) -> Any:
    """One of OpenSSL's functions with its types. Raises AttributeError where there is none, or no library."""
    found = getattr(library(), name)
    found.restype, found.argtypes = result, arguments
    return found


def keep(context: ssl.SSLContext, name: str, callback: object) -> None:
    """Let a callback live as long as the context."""
    setattr(context, f"_kept_{name}", callback)


def context_pointer(context: ssl.SSLContext) -> int | None:
    """Its `SSL_CTX`."""
    return _member(context, 0)


def object_pointer(tls: ssl.SSLObject) -> int | None:
    """Its `SSL`."""
    return _member(inside(tls), 1)


def inside(tls: ssl.SSLObject) -> Any:
    """Its part in C. To write a record by it and to read one takes a tenth less than by the object's own methods."""
    return getattr(tls, "_sslobj")  # noqa: B009  # what SSLObject wraps


def _member(python_object: object, position: int) -> int | None:
    """A pointer behind the object's header."""
    return ctypes.c_void_p.from_address(id(python_object) + _HEADER + position * _POINTER).value


def set_groups(context: ssl.SSLContext, names: Sequence[str]) -> bool:
    """The groups of the key exchange, best first, by OpenSSL's names. False if OpenSSL doesn't know one.

    Where a post-quantum group comes first, a client sends a key for it and for the next one, as BoringSSL does: a
    server that knows only that one needn't ask for another hello.
    """
    if names[0] == POST_QUANTUM_GROUP:
        names = [f"*{name}" for name in names[:2]] + list(names[2:])
    return _taken(library().SSL_CTX_ctrl(context_pointer(context), _SET_GROUPS, 0, ":".join(names).encode()))


@cache
def knows_post_quantum_group() -> bool:
    """Whether this OpenSSL has it: from 3.5 on."""
    return set_groups(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), (POST_QUANTUM_GROUP,))


def set_signature_algorithms(context: ssl.SSLContext, names: Sequence[str]) -> bool:
    """Those that we make and take, best first, by the names of TLS 1.3. False if OpenSSL doesn't know one."""
    pointer, joined = context_pointer(context), ":".join(names).encode()
    return _taken(library().SSL_CTX_ctrl(pointer, _SET_SIGNATURE_ALGORITHMS, 0, joined))


def _taken(result: int) -> bool:
    """Whether OpenSSL took what it was given. Whoever calls it next would take the error that it left for its own."""
    if not result:
        function("ERR_clear_error", None)()
    return bool(result)


def set_session_lifetime(context: ssl.SSLContext, seconds: int) -> None:
    """How long a session can be resumed."""
    library().SSL_CTX_set_timeout(context_pointer(context), seconds)


def keep_no_sessions(context: ssl.SSLContext) -> None:
    """No session is kept here; tickets are another matter."""
    library().SSL_CTX_ctrl(context_pointer(context), _SET_SESSION_CACHE_MODE, _NO_SESSIONS, None)


def set_server_name(tls: ssl.SSLObject, name: str) -> bool:
    """Have a client ask for this name, whatever it looks like. False for one that is too long, or with NUL in it.

    `ssl` itself takes only what is a host name to it, by the rules of the internationalised ones.
    """
    if "\0" in name:
        return False
    encoded = ctypes.c_char_p(name.encode("latin-1", "replace"))
    return _taken(library().SSL_ctrl(object_pointer(tls), _SET_SERVER_NAME, 0, encoded))


def ask_without_verifying(context: ssl.SSLContext, *, required: bool) -> None:
    """Ask clients for a certificate and take any. To be called after `verify_mode` is set, which it overrides."""
    mode = _VERIFY_PEER | (_FAIL_WITHOUT_CERTIFICATE if required else 0)
    library().SSL_CTX_set_verify(context_pointer(context), mode, _ACCEPT)


def is_verified(tls: ssl.SSLObject) -> bool:
    """Whether the peer's chain passed, where a handshake goes on without."""
    return bool(library().SSL_get_verify_result(object_pointer(tls)) == 0)


def awaits_server_hello(tls: ssl.SSLObject) -> bool:
    """Whether a client's handshake has come no further than its ClientHello, as far as somebody can say."""
    found = library()
    return bool(found and found.SSL_get_state(object_pointer(tls)) == _HELLO_SENT)


def version_of(tls: ssl.SSLObject) -> str:
    """The version that a handshake has come to, complete or not; "" before it has, or where nobody can say."""
    found = library()
    inside = object_pointer(tls)
    if found is None or found.SSL_get_state(inside) == _NOTHING_CAME:
        return ""
    version: bytes = found.SSL_get_version(inside)
    return version.decode()


def group_of(tls: ssl.SSLObject) -> str:
    """The group of a completed handshake by BoringSSL's name; "" for none, or where nobody can say."""
    found = library()
    return _GROUPS.get(found.SSL_ctrl(object_pointer(tls), _GET_NEGOTIATED_GROUP, 0, None), "") if found else ""


def peer_signature_of(tls: ssl.SSLObject) -> str:
    """How the peer signed its part of a handshake, by TLS 1.3's name; "" for not at all, or where nobody can say."""
    found = library()
    kind, digest = ctypes.c_int(), ctypes.c_int()
    if found is None or not found.SSL_get_peer_signature_type_nid(object_pointer(tls), ctypes.byref(kind)):
        return ""
    if not found.SSL_ctrl(object_pointer(tls), _GET_PEER_SIGNATURE_DIGEST, 0, ctypes.byref(digest)):
        return "ed25519" if kind.value == _ED25519 else ""
    return _SIGNATURES.get((kind.value, digest.value), "")
