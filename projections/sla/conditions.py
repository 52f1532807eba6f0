"""Conditions (CEL) of a policy file, and what they may speak of. Knows contexts; must not know events, files or the log.

The evaluator is Google's own (`cel-expr-python`, the C++ implementation), because it checks types when it compiles: a
condition that compares a text with a number never reaches the log. Compiling takes 40 µs, binding a context 5 µs, and
evaluating 3 µs; answers are kept by context (`matching.py`).
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from cel_expr_python import cel  # type: ignore[import-untyped]  # it ships stubs without the marker

__all__ = ["NO_ATTRIBUTES", "VARIABLES", "Condition", "Context", "Variables", "variables_of"]

Variables: TypeAlias = tuple[cel.Activation, ...]
"""A context as the evaluator takes it: once per segment of the customer, in the order of their names; once, if there is none."""

NO_ATTRIBUTES: Final[frozenset[tuple[str, str]]] = frozenset()

_TEXTS: Final = cel.Type.List(cel.Type.STRING)


class Context(NamedTuple):
    """What conditions see of a conversation or contact, as of one event. Hashable: answers are kept by it.

    `attributes` are those on `clear_attributes`, as a set of (name, value); None and "" mean the same: not known.
    """

    type: str = ""
    stage: str | None = None
    channel: str = ""
    queue: str | None = None
    team: str | None = None
    priority: str | None = None
    tags: frozenset[str] = frozenset()
    segments: frozenset[str] = frozenset()
    language: str | None = None
    direction: str | None = None
    attributes: frozenset[tuple[str, str]] = NO_ATTRIBUTES


VARIABLES: Final[Mapping[str, Any]] = {
    "type": cel.Type.STRING,
    "stage": cel.Type.STRING,
    "channel": cel.Type.STRING,
    "queue": cel.Type.STRING,
    "team": cel.Type.STRING,
    "priority": cel.Type.STRING,
    "tags": _TEXTS,
    "segments": _TEXTS,
    "segment": cel.Type.STRING,
    "language": cel.Type.STRING,
    "direction": cel.Type.STRING,
    "conversation.attributes": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
}
"""The variables of a condition, and their types. A text that is not known is "".

`segment` is each segment of the customer in turn, and the condition holds if it holds for one of them: `segment == "vip"`
and `"vip" in segments` say the same. "Not in a segment" is `!("vip" in segments)`; `segment != "vip"` asks for some other one.
"""

_SCOPE: Final = "contact"
"""Names are looked up in it first: else `type` would be CEL's own function of that name."""

_ENVIRONMENT: Final = cel.NewEnv(variables={f"{_SCOPE}.{name}": kind for name, kind in VARIABLES.items()}, container=_SCOPE)


class Condition:
    """One compiled condition. Raises `ValueError` with the compiler's words if it is no CEL, or its types are wrong."""

    __slots__ = ("_expression", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._expression = _ENVIRONMENT.compile(text)
        except RuntimeError as error:
            raise ValueError("; ".join(_reasons(str(error)))) from None
        result = self._expression.return_type()
        if result != cel.Type.BOOL:
            raise ValueError(f"it gives {result.name().lower()}, not true or false")

    def holds(self, variables: Variables) -> bool:
        """Tell whether it holds. What fails (an attribute that is missing) does not hold: always the same answer."""
        return any(self._expression.eval(bound).value() is True for bound in variables)

    def failures(self, variables: Variables) -> list[str]:
        """Return why it fails where it fails, except for a missing attribute: a regular expression that is none, say."""
        results = [self._expression.eval(bound) for bound in variables]
        failed = [str(result.value()) for result in results if result.type() == cel.Type.ERROR]
        return [_bare(text) for text in failed if not text.startswith("NOT_FOUND: Key not found")]


def variables_of(context: Context) -> Variables:
    """Bind the variables of a context: once per segment of the customer. About 5 µs each."""
    known: dict[str, object] = {
        "contact.type": context.type,
        "contact.stage": context.stage or "",
        "contact.channel": context.channel,
        "contact.queue": context.queue or "",
        "contact.team": context.team or "",
        "contact.priority": context.priority or "",
        "contact.tags": sorted(context.tags),
        "contact.segments": sorted(context.segments),
        "contact.language": context.language or "",
        "contact.direction": context.direction or "",
        "contact.conversation.attributes": dict(context.attributes),
    }
    return tuple(_ENVIRONMENT.Activation({**known, "contact.segment": segment}) for segment in sorted(context.segments) or ("",))


def _reasons(said: str) -> Iterable[str]:
    """Take the compiler's reasons out of its report: `ERROR: <input>:1:9: reason`, then the text with a pointer under it."""
    for line in said.splitlines():
        _, mark, rest = line.partition("ERROR: <input>:")
        if mark:
            row, column, reason = rest.split(":", 2)
            place = f"column {column}" if row == "1" else f"line {row} of it, column {column}"
            yield f"{_bare(reason)} ({place})"


def _bare(reason: str) -> str:
    """Leave out what only the evaluator's authors need."""
    return reason.replace(f" (in container '{_SCOPE}')", "").partition(" [INVALID_ARGUMENT]")[0].removeprefix("INVALID_ARGUMENT: ").strip()
