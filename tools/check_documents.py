"""Check of documents: broken links, names of code that do not exist, and banned words.

A link to a Python file whose text is a name in backticks, such as [`plan_build`](…/build_planner.py), promises that the
file defines this name. The banned words are phrases of an older style; docs/glossary.md has the standard terms.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from urllib.parse import unquote

ROOT = Path(__file__).parents[1]

# Regular expression -> what to write instead. They match whole words, in any case.
BANNED = {
    r"mend(s|ed|ing)?": "fix, correct",
    r"reckon(s|ed|ing)?": "compute, calculate",
    r"owe[ds]?": "pending",
    r"let(s|ting)? go of": "expire, release",
    r"h[eo]ld(s|ing)? against": "compare with",
    r"(an)?other hands?": "another writer",
    r"stands? in": "is in",
    r"made[ -]up": "generated, sample",
    r"for good(?=\s*($|[.,;:)]))": "permanently",
    r"can(not|'t)? be meant": "is invalid",
    r"in earnest": "in production, real",
    r"anew": "again",
    r"(is|are|was|were|be|been) told": "is reported, notified",
    r"lifeline": "parent watchdog",
    r"gist": "error fingerprint",
    r'"""(Give|Tell|Say|Have)': 'a standard verb: """Return, Build, Report',
}
# Stored names that may occur in these files (JSON fields of the source checkpoint and of reports).
ALLOWED: dict[str, frozenset[str]] = {
    "docs/decisions/2026-11-26-standard-vocabulary-and-layout.md": frozenset({"owed"}),
    "docs/glossary.md": frozenset({"owed"}),
    "docs/operations.md": frozenset({"owed"}),
    "include/ohlcv/model/source_checkpoint.py": frozenset({"owed"}),
    "tests/unit/model/test_build_planner.py": frozenset({"owed"}),
}
# Generated locks, and this check with its test.
UNCHECKED = re.compile(r"requirements[\w-]*\.txt|tools/check_documents\.py|tests/unit/tools/test_check_documents\.py")

# The text of a link may begin on the line before.
LINK = re.compile(r"(?:\[(?P<text>[^\[\]]*))?\]\((?P<target>[^()\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(?P<title>.+?) *$")
FENCE = re.compile(r"^ *(```|~~~)")
CODE_NAME = re.compile(r"^`(?P<name>[A-Za-z_][\w.]*)(\(\))?`$")


def check(root: Path, paths: Iterable[str], allowed: Mapping[str, frozenset[str]] = ALLOWED) -> Iterator[str]:
    """Yield the problems of the files as lines `path:line: problem`."""
    for path in paths:
        text = read_text(root / path)
        if text is None or UNCHECKED.fullmatch(path):
            continue
        if path.endswith(".md"):
            yield from broken_links(root, path, text)
        yield from banned_words(path, text, allowed.get(path, frozenset()))


def broken_links(root: Path, path: str, text: str) -> Iterator[str]:
    """Yield the relative links of a document whose file, section or code name does not exist."""
    for number, line in markdown_lines(text):
        for match in LINK.finditer(line):
            target = match["target"]
            if re.match(r"[a-z][a-z0-9+.-]*:", target):
                continue
            problem = link_problem(root, path, target, match["text"] or "")
            if problem:
                yield f"{path}:{number}: {problem}"


def link_problem(root: Path, path: str, target: str, text: str) -> str | None:
    """Return what is wrong with a relative link, or None."""
    name, _, anchor = target.partition("#")
    file = (root / path).parent / unquote(name) if name else root / path
    if not file.exists():
        return f"the link leads to {target}, which does not exist"
    if anchor and file.suffix == ".md" and anchor not in anchors(file):
        return f"the link leads to {target}, but {file.name} has no section '{anchor}'"
    code = CODE_NAME.match(text)
    if code and file.suffix == ".py" and code["name"].split(".")[-1] not in defined_names(file):
        return f"the link says that {file.name} defines {code['name']}, which it does not"
    return None


@cache
def anchors(file: Path) -> frozenset[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    names = set()
    for _, line in markdown_lines(file.read_text()):
        if match := HEADING.match(line):
            title = LINK.sub(lambda link: link["text"] or "", match["title"])
            name = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
            names.add(f"{name}-{found[name]}" if name in found else name)
            found[name] = found.get(name, 0) + 1
    return frozenset(names)


@cache
def defined_names(file: Path) -> frozenset[str]:
    """Return the names of functions, classes and assigned variables in a Python file."""
    definition = re.compile(r"^\s*(?:async )?(?:def|class) (\w+)|^\s*(\w+)(?:: [^=\n]+)? = ", re.M)
    return frozenset(first or second for first, second in definition.findall(file.read_text()))


def markdown_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the numbered lines of a document outside fenced code blocks."""
    is_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if FENCE.match(line):
            is_code = not is_code
        elif not is_code:
            yield number, line


def banned_words(path: str, text: str, allowed: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield the banned words of a file."""
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, instead in BANNED.items():
            for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", line, re.I):
                if match[0] not in allowed:
                    yield f"{path}:{number}: '{match[0].strip()}': write {instead}"


def read_text(file: Path) -> str | None:
    """Return the text of a file, or None if it is deleted or not a text."""
    try:
        return file.read_text()
    except (UnicodeDecodeError, FileNotFoundError, IsADirectoryError):
        return None


def repository_files(root: Path) -> list[str]:
    """Return the paths of the files that git tracks or would track."""
    command = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard"]
    return sorted(set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()))


def main(arguments: list[str] | None = None) -> int:
    """Print the problems of all files of the repository; return 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout to check (default: this one)")
    root = parser.parse_args(arguments).root
    problems = list(check(root, repository_files(root)))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
