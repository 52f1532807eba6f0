from connectors.contract import Draft, RawHandle


def test_a_draft_shows_nothing_personal_of_itself() -> None:
    """Whatever prints one by accident, a log line or a failing assertion, says only which event it is."""
    draft = Draft(
        type="message.received",
        id="+49 30 23125 001",
        source="/mail",
        tenant="acme",
        channel="email",
        direction="inbound",
        occurred_at_us=1,
        customer=(RawHandle("phone", "+49 30 23125 002"),),
        text="my secret",
    )
    assert "23125" not in repr(draft)
    assert "secret" not in repr(draft)
    assert "23125" not in repr(draft.customer)
    assert "message.received" in repr(draft)
