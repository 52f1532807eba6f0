"""Starting a measured process and getting its findings: a specification goes in as JSON, the findings come back as a file of JSON."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from touchline.errors import TouchlineError
from touchline.settings import Settings

__all__ = ["findings", "report", "settings_of", "specification"]

_ROOT = Path(__file__).resolve().parents[1]
_LIMIT_S = 3600.0
_LINES_SHOWN = 15

T = TypeVar("T")


class Specification(msgspec.Struct, frozen=True):
    """What a measured process is told. `settings` are complete: nothing is read from the environment. `out` is where findings go."""

    settings: dict[str, Any]
    pids: dict[str, int]
    events: int
    out: str
    options: dict[str, Any] = {}


def findings(
    module: str,
    settings: Settings,
    pids: dict[str, int],
    events: int,
    kind: type[T],
    *,
    folder: Path,
    prefix: Sequence[str] = (),
    **options: Any,  # noqa: ANN401 - what the module is told, as JSON
) -> T:
    """Run `benchmarks.<module>` and return what it reports as `kind`. `prefix` stands before the command (a profiler).

    Raises `TouchlineError` with its last words if it fails.
    """
    out = folder / f"{module}.findings.json"
    out.unlink(missing_ok=True)
    spec = Specification(settings.model_dump(mode="json"), pids, events, str(out), options)
    command = [*prefix, sys.executable, "-m", f"benchmarks.{module}", msgspec.json.encode(spec).decode()]
    work = folder / "work"  # Faust leaves a folder per process in the working folder
    work.mkdir(exist_ok=True)
    ran = subprocess.run(  # noqa: S603 - our own modules
        command, cwd=work, env={**os.environ, "PYTHONPATH": str(_ROOT)}, capture_output=True, text=True, check=False, timeout=_LIMIT_S
    )
    if not out.exists():
        words = (ran.stdout + ran.stderr).strip().splitlines()[-_LINES_SHOWN:]
        raise TouchlineError(f"benchmarks.{module} ended with {ran.returncode} and without findings:\n" + "\n".join(words))
    return msgspec.json.decode(out.read_bytes(), type=kind)


def specification(arguments: Sequence[str]) -> Specification:
    """Read the specification in a measured process."""
    return msgspec.json.decode(arguments[1], type=Specification)


def settings_of(spec: Specification) -> Settings:
    """Return the settings of a specification."""
    return Settings(**spec.settings)


def report(spec: Specification, found: object) -> None:
    """Hand the findings back, whole or not at all."""
    part = Path(spec.out + ".part")
    part.write_bytes(msgspec.json.encode(found))
    part.replace(spec.out)
