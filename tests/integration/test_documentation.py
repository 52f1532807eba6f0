"""What the README shows is run, line by line, in the order in which a newcomer would type it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from deploy.local.testing import LiveStack

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").glob("**/*.md"))))
TESTED = re.compile(r"<!-- tested.*?-->\n```sh\n(.*?)```", re.DOTALL)
BIN = ROOT / ".venv" / "bin"


def blocks() -> list[tuple[str, str]]:
    """Return (document, block) for every tested block, in order."""
    return [(name, block) for name in DOCUMENTS for block in TESTED.findall((ROOT / name).read_text())]


@pytest.fixture(scope="module")
def folder(stack: LiveStack) -> Path:
    """Return the stack's working folder, with the examples in it as in a checkout."""
    docs = stack.folder / "docs"
    if not docs.exists():
        docs.symlink_to(ROOT / "docs")
    return stack.folder


def run(block: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block as a shell would; what it started in the background ends with it."""
    script = f"set -e\ntrap 'jobs -p | xargs -r kill || true; wait || true' EXIT\n{block}"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TOUCHLINE_")}
    path = f"{BIN}:{environment['PATH']}" if BIN.is_dir() else environment["PATH"]
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env={**environment, "PATH": path}, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize(("name", "block"), blocks(), ids=lambda value: value.split("\n")[0][:40])
def test_a_block_of_the_documentation_does_what_it_says(folder: Path, name: str, block: str) -> None:
    """Every command of the block succeeds."""
    done = run(block, folder)
    assert done.returncode == 0, f"{name}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


def test_the_first_steps_show_what_they_promise(folder: Path) -> None:
    """The same lines again: eleven duplicates, Ann's morning over four channels, and what is promised, missed and counted of it."""
    done = run(next(block for name, block in blocks() if name == "README.md"), folder)
    assert "received 11 = accepted 0 + duplicate 11 + quarantined 0 + refused 0" in done.stdout
    for channel in ("email", "phone", "webchat", "store"):
        assert channel in done.stdout
    assert "Where is my parcel?" in done.stdout
    for shown in ("c-wei", "breach queue_answer", "parcels"):
        assert shown in done.stdout


def test_every_link_of_the_documentation_leads_somewhere() -> None:
    """Relative links only; the others are not ours."""
    lost = []
    for name in (*DOCUMENTS, "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        document = ROOT / name
        lost += [f"{name}: {link}" for link in re.findall(r"\]\(([^)#:]+)\)", document.read_text()) if not (document.parent / link).exists()]
    assert not lost
