"""Puts a new projection's files into a checkout: all of them, or none. Knows files and processes; must not know what they say.

They are first laid beside a copy of the checkout's projections, where the checkout's own golden writer folds the new history with
the new module. So what does not even run is never put into the checkout, and the registry changes last.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from touchline.errors import Refused
from touchline.scaffold import Plan
from touchline.scaffold_registry import REGISTRY

__all__ = ["write"]

_GOLDEN_S: Final = 300
_LINKED: Final = ("schemas", "touchline")
_COPIED: Final = ("projections", "tests/golden")
_WITHOUT: Final = shutil.ignore_patterns("__pycache__", "*.pyc")
_LAST_CHARACTERS: Final = 500


def write(plan: Plan) -> None:
    """Write what is planned. Raises `Refused` if the golden writer fails or a file cannot be written; nothing of it is then there."""
    try:
        golden = _golden(plan)
        _place(plan, {**plan.files, plan.golden: golden})
    except OSError as error:
        raise Refused(
            f"The files cannot be written into {plan.folder} ({error.strerror or type(error).__name__}); it is as it was.",
            reason="not_written",
            next_step="look at the folder's rights and at the free space, then try again.",
        ) from error


def _golden(plan: Plan) -> str:
    """Return the text of the golden file, as the checkout's own code writes it in a copy of itself."""
    folder = plan.folder.resolve()
    with tempfile.TemporaryDirectory(prefix="touchline-new-") as made:
        copy = Path(made)
        for part in _COPIED:
            shutil.copytree(folder / part, copy / part, ignore=_WITHOUT)
        for part in _LINKED:
            (copy / part).symlink_to(folder / part, target_is_directory=True)
        for path, text in {**plan.files, REGISTRY: plan.registry}.items():
            (copy / path).parent.mkdir(parents=True, exist_ok=True)
            (copy / path).write_text(text, encoding="utf-8")
        try:
            done = subprocess.run(
                [sys.executable, "-B", "tests/golden/write.py"], cwd=copy, capture_output=True, text=True, timeout=_GOLDEN_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise _failed(f"not within {_GOLDEN_S} s") from None
        written = copy / plan.golden
        if done.returncode or not written.exists():
            raise _failed(done.stderr.strip()[-_LAST_CHARACTERS:] or f"exit code {done.returncode}")
        return written.read_text(encoding="utf-8")


def _failed(why: str) -> Refused:
    return Refused(
        f"tests/golden/write.py of the checkout fails with the new projection; nothing was written. It said: {why}",
        reason="golden_failed",
        next_step="let `python tests/golden/write.py` run in the checkout as it is, then try again.",
    )


def _place(plan: Plan, files: dict[str, str]) -> None:
    """Move every file to its place, the registry last; whatever goes wrong, take back what was moved."""
    placed: list[Path] = []
    try:
        for path, text in files.items():
            _move(plan.folder / path, text, placed, new=True)
        _move(plan.folder / REGISTRY, plan.registry, [], new=False)
    except BaseException:
        for made in placed:
            with suppress(OSError):
                made.unlink()
        raise


def _move(path: Path, text: str, placed: list[Path], *, new: bool) -> None:
    """Write beside the place, then move there in one step; a file that came in between is not overwritten."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_text(text, encoding="utf-8")
        if new:
            os.link(beside, path)
            placed.append(path)
        else:
            shutil.copymode(path, beside)
            beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
