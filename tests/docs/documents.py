"""The documents as data: their code blocks, their links, and the sessions in a terminal that they show."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.harness import ROOT

README = ROOT / "README.md"
EXTENDING = ROOT / "docs" / "extending.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
DOCUMENTS = [README, CONTRIBUTING, ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_ANYTHING = "…"


@dataclass(frozen=True)
class Example:
    """One command of a `console` block, and what it prints there."""

    line: int
    command: str
    output: str

    def shows(self, printed: str) -> bool:
        """Whether the output in the document is what was printed: `…` is anything, white space does not count."""
        pattern = ".*".join(re.escape(_squeeze(part)) for part in self.output.split(_ANYTHING))
        return re.fullmatch(pattern, _squeeze(printed), re.DOTALL) is not None


def blocks(document: Path, language: str) -> list[str]:
    """Return the texts of the code blocks in a language."""
    return [match["text"] for match in _BLOCK.finditer(document.read_text()) if match["language"] == language]


def sessions(document: Path, after: str = "", before: str | None = None) -> list[list[Example]]:
    """Return the commands of each `console` block; only of those between two headings, where they are given."""
    text = document.read_text()
    start = text.index(after)
    end = len(text) if before is None else text.index(before)
    return [
        list(_examples_in(match["text"], text.count("\n", 0, match.start("text")) + 1))
        for match in _BLOCK.finditer(text)
        if match["language"] == "console" and start <= match.start() < end
    ]


def links(document: Path) -> list[str]:
    """Return what a document links to within the project."""
    prose = _BLOCK.sub("", document.read_text())
    targets = (match["target"] for match in _LINK.finditer(prose))
    return [target for target in targets if "://" not in target]


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings, as Markdown viewers make them."""
    prose = _BLOCK.sub("", document.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(prose)}


def table_rows(document: Path, heading: str) -> list[list[str]]:
    """Return the cells of the first table whose header begins with `heading`, without the header."""
    lines = document.read_text().splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows: list[list[str]] = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def _examples_in(block: str, first_line: int) -> Iterator[Example]:
    lines = block.splitlines()
    place = 0
    while place < len(lines):
        assert lines[place].startswith("$ "), f"line {first_line + place}: a command begins with '$ '"
        start, command = place, lines[place].removeprefix("$ ")
        while _goes_on(command):
            place += 1
            command += f"\n{lines[place]}"
        place += 1
        output: list[str] = []
        while place < len(lines) and not lines[place].startswith("$ "):
            output.append(lines[place])
            place += 1
        yield Example(first_line + start, command, "\n".join(output))


def _goes_on(command: str) -> bool:
    """Whether a command has a quotation mark that is still open."""
    try:
        shlex.split(command)
    except ValueError:
        return True
    return False


def _squeeze(text: str) -> str:
    return "".join(text.split())
