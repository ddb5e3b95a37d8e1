"""Where a transport socket's current generation of contexts stands, and how it becomes the next one.

A slot is made when the configuration is compiled, which is also when bad certificates are refused. From then on it is
its own master: the watcher tells it that a file has changed, it loads everything anew, and either takes the result or,
if anything is wrong with it (a certificate written before its key), keeps what it has and waits for the next change.
Connections aren't touched: they hold the objects that they were made with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from meshproxy.config.tls.seen_files import SeenFiles
from meshproxy.config.tls.tls_secrets import Secret
from meshproxy.model.tls import (
    CertificateValidation,
    CommonTls,
    DataSource,
    DownstreamTls,
    SecretReference,
    TicketKeys,
    TlsCertificate,
    UpstreamTls,
)
from meshproxy.runtime.tls.client_contexts import ClientContext
from meshproxy.runtime.tls.contexts import Generation, ServerContexts
from meshproxy.runtime.tls.failures import MaterialError
from meshproxy.runtime.tls.material import LoadedCertificate, read

G = TypeVar("G", bound=Generation)
C = TypeVar("C", DownstreamTls, UpstreamTls)
_MISSING = "a secret is missing"


class Slot(Generic[C, G]):
    """One transport socket. generation: None as long as a secret that it needs hasn't come. provisions: how often one
    has come that could be used."""

    def __init__(self, config: C, make: Callable[..., G]) -> None:
        """Raises MaterialError if what is there can't be used."""
        self.config: C = config
        self.updates = self.provisions = 0
        self._make = make
        self._files = SeenFiles()
        self._provided: dict[SecretReference, Secret] = {}
        self.generation: G | None = self._load()

    def _load(self) -> G | None:
        common = self.config.common
        # In force from the start: a fault that a file has now is mended when the file changes.
        self._files = SeenFiles()
        files = _Files(self._provided, self._files)
        certificates = [files.certificate(entry) for entry in common.certificates]
        validation = common.validation
        missing = None in certificates
        if common.validation_reference is not None:
            found = self._provided.get(common.validation_reference)
            if isinstance(found, CertificateValidation):
                validation = found if validation is None else validation.merged(found)
            else:
                missing = True
        if validation is not None:
            files.note_validation(validation)
        keys = files.ticket_keys(self._ticket_keys)
        missing = missing or (keys is None and self._ticket_keys is not None)
        if missing:
            return None
        loaded = [LoadedCertificate(certificate) for certificate in certificates if certificate is not None]
        more = {"ticket_keys": tuple(map(read, keys.keys))} if keys is not None else {}
        return self._make(self.config, loaded, validation, **more)

    @property
    def _ticket_keys(self) -> TicketKeys | SecretReference | None:
        return self.config.ticket_keys if isinstance(self.config, DownstreamTls) else None

    def changed(self) -> bool:
        """Whether one of the files is another than when it was read."""
        return self._files.changed()

    def reload(self) -> str:
        """Load everything anew. Returns what is wrong with it, and then nothing has changed; else ""."""
        try:
            generation = self._load()
        except MaterialError as error:
            return str(error)
        if generation is None and self.generation is not None:
            return _MISSING
        self.generation = generation
        self.updates += 1
        return ""

    @property
    def awaited(self) -> list[SecretReference]:
        """The secrets that somebody has to `provide`."""
        common: CommonTls = self.config.common
        named = [*common.certificates, common.validation_reference, self._ticket_keys]
        return [entry for entry in named if isinstance(entry, SecretReference)]

    def provide(self, reference: SecretReference, secret: Secret) -> str:
        """A secret has come, or another one. Returns what is wrong with it, and then nothing has changed; else ""."""
        before = self._provided.get(reference)
        self._provided[reference] = secret
        fault = self.reload()
        if fault and before is not None:
            self._provided[reference] = before
        if fault in ("", _MISSING):
            self.provisions += 1
            return ""
        return fault

    @property
    def watches(self) -> bool:
        return bool(self._files) or bool(self.awaited)


class _Files:
    """Resolves references and notes in `seen` every file on the way."""

    def __init__(self, provided: Mapping[SecretReference, Secret], seen: SeenFiles) -> None:
        self._provided = provided
        self._seen = seen

    def certificate(self, entry: TlsCertificate | SecretReference) -> TlsCertificate | None:
        if isinstance(entry, SecretReference):
            found = self._provided.get(entry)
            if not isinstance(found, TlsCertificate):
                return None
            entry = found
        self._note(entry.chain, entry.key, entry.password, entry.pkcs12, entry.staple)
        return entry

    def ticket_keys(self, entry: TicketKeys | SecretReference | None) -> TicketKeys | None:
        if isinstance(entry, SecretReference):
            found = self._provided.get(entry)
            if not isinstance(found, TicketKeys):
                return None
            entry = found
        if entry is not None:
            self._note(*entry.keys)
        return entry

    def note_validation(self, validation: CertificateValidation) -> None:
        bundles = (domain.bundle for domain in validation.trust_domains)
        self._note(validation.trusted_ca, validation.crl, validation.trust_bundles, *bundles)

    def _note(self, *sources: DataSource | None) -> None:
        for source in sources:
            if source is not None and source.filename:
                self._seen.note(source.filename)


ServerSlot = Slot[DownstreamTls, ServerContexts]
ClientSlot = Slot[UpstreamTls, ClientContext]


def server_slot(config: DownstreamTls) -> ServerSlot:
    """Raises MaterialError."""
    return Slot(config, ServerContexts)


def client_slot(config: UpstreamTls) -> ClientSlot:
    """Raises MaterialError."""
    return Slot(config, ClientContext)


def leaves(generation: Generation) -> Iterator[LoadedCertificate]:
    """The certificates that a generation shows to peers."""
    yield from generation.certificates
