"""A Confluent-compatible schema registry, for CRMs that read the output topics. Internal topics never need one.

Schema Registry API reference (Confluent): `PUT /config`, `POST /subjects/{subject}/versions`, `POST /subjects/{subject}`. Subjects are
record names (RecordNameStrategy). For Apicurio the address ends in `/apis/ccompat/v7`.
"""

import json
from types import TracebackType
from typing import Self

import httpx2

from schemas.avsc import ROOT, Json, definitions, expand, load
from schemas.names import public_type
from schemas.speakers import is_told
from touchline.errors import Misconfigured, Refused, Retryable

__all__ = ["Registry", "output_ids", "output_schemas", "register"]

_RECORDS = frozenset({"touchline.customer.Snapshot", "touchline.quarantine.Quarantined"})
_JSON = "application/vnd.schemaregistry.v1+json"
_TIMEOUT_S = 10.0


def output_schemas() -> dict[str, Json]:
    """Return the whole schema, with its docs, of every record that lies on an output topic, by full name."""
    schemas = list(load(ROOT).values())
    known = definitions(schemas)
    names = (schema["name"] for schema in schemas)
    return {name: expand(name, known) for name in names if name in _RECORDS or is_told(public_type(name))}


def register(url: str, transport: httpx2.BaseTransport | None = None) -> dict[str, int]:
    """Set FULL_TRANSITIVE as the registry's rule and register every output record; return the ids by full name. Repeating it is harmless.

    Raises `Refused` (reason `incompatible` or `invalid`) naming the subject, `Retryable` if the registry does not answer,
    `Misconfigured` for any other answer.
    """
    with Registry(url, transport) as registry:
        registry.enforce()
        return {name: registry.add(name, schema) for name, schema in output_schemas().items()}


def output_ids(url: str, transport: httpx2.BaseTransport | None = None) -> dict[str, int]:
    """Return the registry's id of every output record as it is now, by full name; registers nothing.

    Raises `Misconfigured` naming a record that is not registered; else as `register`.
    """
    with Registry(url, transport) as registry:
        return {name: registry.find(name, schema) for name, schema in output_schemas().items()}


class Registry:
    """A connection to one registry; use it with `with`. `transport` is for tests."""

    def __init__(self, url: str, transport: httpx2.BaseTransport | None = None) -> None:
        try:
            self._client = httpx2.Client(
                base_url=url.rstrip("/"), timeout=_TIMEOUT_S, transport=transport, headers={"Accept": _JSON, "Content-Type": _JSON}
            )
        except (httpx2.InvalidURL, ValueError) as error:
            raise Misconfigured(f"The registry's address is no URL ({error}).", next_step="set TOUCHLINE_REGISTRY_URL.") from error
        self._name = f"{self._client.base_url.host}:{self._client.base_url.port or ''}".rstrip(":")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._client.close()

    def enforce(self) -> None:
        """Make FULL_TRANSITIVE the rule of all subjects: a new registry has none, or only BACKWARD."""
        self._ask("PUT", "/config", {"compatibility": "FULL_TRANSITIVE"}, "the compatibility rule")

    def add(self, subject: str, schema: Json) -> int:
        """Register a schema under a subject, or find it there; return its id."""
        return int(self._ask("POST", f"/subjects/{subject}/versions", _body(schema), subject)["id"])

    def find(self, subject: str, schema: Json) -> int:
        """Return the id that this very schema has under the subject. Raises `Misconfigured` if it is not registered."""
        return int(self._ask("POST", f"/subjects/{subject}", _body(schema), subject)["id"])

    def _ask(self, method: str, path: str, body: Json, subject: str) -> Json:
        try:
            answer = self._client.request(method, path, content=json.dumps(body))
        except httpx2.UnsupportedProtocol as error:
            raise Misconfigured("The registry's address does not start with http:// or https://.", next_step="set TOUCHLINE_REGISTRY_URL.") from error
        except httpx2.TransportError as error:
            raise Retryable(
                f"The registry at {self._name} does not answer ({type(error).__name__}).", next_step="check TOUCHLINE_REGISTRY_URL, then try again."
            ) from error
        if answer.is_success:
            return _answered(answer, self._name)
        says = _reason(answer)
        if answer.status_code == httpx2.codes.CONFLICT:
            raise Refused(f"The registry refuses {subject}: {says}", reason="incompatible", next_step="run `touchline schemas check`.")
        if answer.status_code == httpx2.codes.UNPROCESSABLE_CONTENT:
            raise Refused(f"The registry cannot read {subject}: {says}", reason="invalid", next_step="run `touchline schemas check`.")
        if answer.status_code == httpx2.codes.NOT_FOUND:
            raise Misconfigured(f"The registry at {self._name} does not know {subject}: {says}", next_step="run `touchline schemas register`.")
        if answer.is_server_error or answer.status_code == httpx2.codes.TOO_MANY_REQUESTS:
            raise Retryable(f"The registry at {self._name} answers {answer.status_code} for {subject}: {says}", next_step="try again.")
        raise Misconfigured(f"The registry at {self._name} answers {answer.status_code} for {subject}: {says}", next_step="check address and rights.")


def _body(schema: Json) -> Json:
    return {"schemaType": "AVRO", "schema": json.dumps(schema, ensure_ascii=False)}


def _answered(answer: httpx2.Response, name: str) -> Json:
    try:
        return answer.json()
    except ValueError as error:
        raise Misconfigured(
            f"{name} does not speak as a registry does.", next_step="check TOUCHLINE_REGISTRY_URL; Apicurio: /apis/ccompat/v7."
        ) from error


def _reason(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["message"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:500] or answer.reason_phrase
