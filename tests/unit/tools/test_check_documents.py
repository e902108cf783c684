"""Check of documents: links, names of code and banned words."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from ohlcv.config.settings import GENERAL_NAMES, Tuning
from tools import check_documents

SCRIPT = Path(check_documents.__file__)
GUIDE = "# A guide\n\n## First: the *start*, and `more`\n\n## Twice\n\n## Twice\n\n    [no](section.md)\n"


def problems(folder: Path, files: Mapping[str, str]) -> list[str]:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return list(check_documents.check(folder, files, {}))


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        ("[a guide](docs/guide.md)", None),
        ("![a picture](docs/missing.png)", "leads to docs/missing.png, which does not exist"),
        ("a text that [begins\nbefore](docs/missing.md)", "leads to docs/missing.md, which does not exist"),
        ("[start](docs/guide.md#first-the-start-and-more)", None),
        ("[second](docs/guide.md#twice-1)", None),
        ("[nowhere](docs/guide.md#nowhere)", "guide.md has no section 'nowhere'"),
        ("[here](#a-page)", None),
        ("[nowhere](#another-page)", "has no section 'another-page'"),
        ("[elsewhere](https://example.com/missing.md)", None),
        ("[`plan`](code.py)", None),
        ("[`Plan.start`](code.py)", None),
        ("[`LIMIT`](code.py)", None),
        ("[`build()`](code.py)", "says that code.py defines build, which it does not"),
        ("```\n[example](missing.md)\n```", None),
    ],
)
def test_a_link_must_lead_to_an_existing_file_section_and_name(tmp_path: Path, link: str, problem: str | None) -> None:
    code = "LIMIT: int = 1\n\n\nclass Plan:\n    def start(self): ...\n\n\ndef plan(): ...\n"
    files = {
        "docs/guide.md": GUIDE.replace("    [no](section.md)\n", ""),
        "code.py": code,
        "README.md": f"# A page\n\n{link}\n",
    }
    found = problems(tmp_path, files)
    assert (len(found) == 1 and problem in found[0]) if problem else found == []


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("The owed hours.", "owed"),
        ("the field owed_hours", None),
        ("It was MADE UP.", "MADE UP"),
        ("gone for good.", "for good"),
        ("for good trades", None),
        ('    """Give the plan."""', '"""Give'),
        ('    """Return the plan."""', None),
    ],
)
def test_a_banned_word_is_reported_with_its_line(tmp_path: Path, line: str, word: str | None) -> None:
    found = problems(tmp_path, {"module.py": f"first line\n{line}\n"})
    assert [problem.partition(": write")[0] for problem in found] == ([f"module.py:2: '{word}'"] if word else [])


def test_a_stored_name_is_allowed_in_its_file_only(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('"owed"\n')
    (tmp_path / "b.py").write_text('"owed"\n')
    found = list(check_documents.check(tmp_path, ["a.py", "b.py"], {"a.py": frozenset({"owed"})}))
    assert [problem.partition(":")[0] for problem in found] == ["b.py"]


def test_deleted_and_binary_files_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG owed")
    assert list(check_documents.check(tmp_path, ["picture.png", "deleted.md"], {})) == []


def test_the_command_fails_on_a_problem_and_passes_without(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "README.md").write_text("[missing](missing.md)\n")
    command = [sys.executable, str(SCRIPT), "--root", str(tmp_path)]
    failed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (failed.returncode, failed.stdout) == (
        1,
        "README.md:1: the link leads to missing.md, which does not exist\n",
    )
    (tmp_path / "missing.md").write_text("Now it exists.\n")
    assert subprocess.run(command, check=False).returncode == 0
    shown = subprocess.run([sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, check=True)
    assert "--root" in shown.stdout


def test_the_settings_document_lists_every_setting() -> None:
    text = (check_documents.ROOT / "docs" / "settings.md").read_text()
    names = [*GENERAL_NAMES, *(f"OHLCV_{field.name.upper()}" for field in dataclasses.fields(Tuning))]
    assert [name for name in names if f"`{name}`" not in text] == []
