"""Variables of Istio's pilot-agent that mean nothing here: whoever sets one is told, by name, what happens instead.

The source is pilot-agent's own list ("Environment variables" in its reference). Variables that are heeded stand in
`settings` and in docs/agent.md. A value that asks for what happens anyway is silent.
"""

from __future__ import annotations

from collections.abc import Mapping

_OFF = frozenset(("", "0", "f", "false", "no"))
_ALWAYS: frozenset[str] = frozenset(("",))

UNSUPPORTED: Mapping[str, tuple[frozenset[str], str]] = {
    "CA_PROVIDER": (frozenset(("", "citadel")), "certificates come from an Istio certificate service"),
    "CREDENTIAL_FETCHER_TYPE": (frozenset(("", "jwt")), "the token is read from JWT_PATH"),
    "ISTIO_AGENT_ENABLE_WASM_REMOTE_LOAD_CONVERSION": (_OFF, "there are no WebAssembly filters"),
    "PEER_METADATA_DISCOVERY": (_OFF, "who a peer is comes with its requests"),
    "WASM_INSECURE_REGISTRIES": (_ALWAYS, "there are no WebAssembly filters"),
    "XDS_AUTH_PROVIDER": (_ALWAYS, "the control plane is shown the workload's certificate and the token in JWT_PATH"),
}


def unsupported_variables(variables: Mapping[str, str]) -> list[str]:
    """A line for each variable that is set to something that isn't done."""
    return [
        f"{name}={variables[name]} is not heeded: {instead}"
        for name, (harmless, instead) in UNSUPPORTED.items()
        if variables.get(name, "").strip().lower() not in harmless
    ]
