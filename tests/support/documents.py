"""Code blocks of documents and cells of notebooks."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DOCUMENTS = Path(__file__).parents[2] / "docs"

_BLOCK = re.compile(
    r"^```(?P<language>\w+) (?P<name>[\w-]+)(?: after (?P<after>[\w-]+))?\n(?P<code>.*?)^```$", re.M | re.S
)


@dataclass(frozen=True)
class Block:
    """A fenced code block with a name: ```LANGUAGE NAME, or ```LANGUAGE NAME after NAME to continue another block."""

    language: str
    name: str
    after: str | None
    code: str


def named_blocks(document: str) -> dict[str, Block]:
    """Return the named code blocks of a document in docs/."""
    text = (DOCUMENTS / document).read_text()
    blocks = [Block(**match.groupdict()) for match in _BLOCK.finditer(text)]
    assert len(blocks) == text.count("\n```") // 2, "a code block has no name"
    found = {block.name: block for block in blocks}
    assert len(found) == len(blocks), "two code blocks have the same name"
    return found


def run_block(blocks: dict[str, Block], name: str) -> dict[str, Any]:
    """Run a block of Python code after the blocks that it continues, and return its variables."""
    block = blocks[name]
    variables: dict[str, Any] = {} if block.after is None else run_block(blocks, block.after)
    run_code(block.code, f"code block {name}", variables)
    return variables


def notebook_cells(notebook: str) -> dict[str, str]:
    """Return the code of each code cell of a notebook in docs/, by the cell's id."""
    cells = json.loads((DOCUMENTS / notebook).read_text())["cells"]
    return {cell["id"]: "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"}


def run_code(code: str, name: str, variables: dict[str, Any]) -> None:
    """Run code with variables. `name` is shown in tracebacks."""
    exec(compile(code, name, "exec"), variables)  # noqa: S102  # the documents belong to this project
