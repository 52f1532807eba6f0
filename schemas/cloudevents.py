"""CloudEvents headers of records on output topics. CloudEvents 1.0.2, "Kafka Protocol Binding", binary content mode (§3.2).

Internal topics carry none: 250 bytes per record for ever.
"""

from schemas.record import instant

__all__ = ["headers"]

_CONSTANT = [("content-type", b"application/avro"), ("ce_specversion", b"1.0")]


def headers(*, event_id: str, source: str, type_: str, at_us: int, subject: str, dataschema: str) -> list[tuple[str, bytes]]:
    """Return the Kafka headers of one record. `at_us` is the event time (epoch µs); `dataschema` a URI of the schema.

    Values are UTF-8; `ce_time` is RFC 3339 in UTC with `Z`. `subject` (the customer_id) is left out where empty, as the
    specification demands of empty attributes.
    """
    found = [
        *_CONSTANT,
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", type_.encode()),
        ("ce_time", instant(at_us).isoformat().replace("+00:00", "Z").encode()),
        ("ce_dataschema", dataschema.encode()),
    ]
    return [*found, ("ce_subject", subject.encode())] if subject else found
