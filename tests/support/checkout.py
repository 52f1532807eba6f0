"""A copy of the checkout, and commands run in it as its own: what a test changes there, nobody else sees."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = ["ROOT", "copied", "environment", "run"]

ROOT = Path(__file__).resolve().parents[2]
_SHIM = """#!/bin/sh
exec {python} -m {module} "$@"
"""


def copied(folder: Path, *parts: str) -> Path:
    """Copy what git knows of the checkout, as it now is, into `folder` (all, or only these parts); return it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *parts], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        source = ROOT / name
        if source.is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    return folder


def environment(folder: Path, given: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment in which `python`, `touchline`, `pytest`, `ruff` and `mypy` are this Python's, with the copy's own packages."""
    programs = folder / ".programs"
    if not programs.exists():
        programs.mkdir()
        for module in ("touchline", "pytest", "mypy"):
            (programs / module).write_text(_SHIM.format(python=sys.executable, module=module))
            (programs / module).chmod(0o755)
        (programs / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
        (programs / "python").chmod(0o755)
        (programs / "ruff").symlink_to(Path(sys.executable).with_name("ruff"))
    kept = {name: value for name, value in given.items() if name != "PYTHONPATH"}
    return {**kept, "PATH": f"{programs}:{kept['PATH']}", "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def run(command: list[str], folder: Path, *, within_s: float = 240.0) -> "subprocess.CompletedProcess[str]":
    """Run a command in the copy to its end."""
    with_paths = environment(folder)
    program = shutil.which(command[0], path=with_paths["PATH"]) or command[0]
    return subprocess.run([program, *command[1:]], cwd=folder, env=with_paths, capture_output=True, text=True, timeout=within_s, check=False)
