"""Reads one YAML file so that every complaint about it can name a line.

PyYAML keeps the lines of its node graph and forgets them in the values it builds, and it lets a repeated key win
silently. So the graph is composed first and kept beside the values.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


class FileError(Exception):
    """One thing wrong with a file. The library gathers these; nobody else meets one."""

    def __init__(self, path: Path, line: int | None, text: str) -> None:
        """`line` counts from 1 and is None where no line is to blame."""
        super().__init__(f"{path}:{line}: {text}" if line else f"{path}: {text}")
        self.line = line


@dataclass(frozen=True)
class YamlFile:
    """The values of a file, and where they stand."""

    path: Path
    values: dict[Any, Any]
    root: yaml.MappingNode

    def error(self, where: Sequence[int | str], text: str) -> FileError:
        """Return an error about the value at `where`, such as `("traits", "warmth")`."""
        field = ".".join(str(part) for part in where if part != "[key]")
        return FileError(self.path, self.line_of(where), f"{field}: {text}" if field else text)

    def repeated_keys(self) -> list[FileError]:
        """Return an error for every key that its mapping has already."""
        return [
            FileError(self.path, _line(key), f"'{key.value}' is given twice, first in line {_line(first)}")
            for key, first in _repeated_keys(self.root)
        ]

    def line_of(self, where: Sequence[int | str]) -> int:
        """Return the line of a value, or of the innermost thing around it that the file has."""
        node: yaml.Node = self.root
        line = _line(node)
        for part in where:
            if isinstance(node, yaml.MappingNode):
                entry = next((pair for pair in node.value if pair[0].value == str(part)), None)
                if entry is None:
                    break
                line, node = _line(entry[0]), entry[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = _line(node)
            else:
                break
        return line


def read_yaml_file(path: Path) -> YamlFile:
    """Read a file that holds one mapping.

    Raises:
        FileError: it cannot be read, is not UTF-8, not YAML, empty, or something else than a mapping.
    """
    text = _read_text(path)
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        if root is None:
            raise FileError(path, 1, "the file is empty")
        if not isinstance(root, yaml.MappingNode):
            raise FileError(path, _line(root), "should be a mapping of fields to values")
        return YamlFile(path, loader.construct_document(root), root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise FileError(path, mark.line + 1 if mark else None, f"not valid YAML: {error.problem}") from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise FileError(path, line, f"not valid YAML: {error.reason}") from error
    except (ValueError, RecursionError) as error:
        # An impossible date, a number YAML takes for one but Python does not, or thousands of brackets.
        raise FileError(path, None, f"not valid YAML: {error}") from error


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise FileError(path, None, f"cannot be read: {error.strerror}") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise FileError(path, line, f"not UTF-8: byte 0x{content[error.start]:02x}") from error


def _repeated_keys(root: yaml.Node) -> Iterator[tuple[yaml.Node, yaml.Node]]:
    """Yield (the repetition, the first) for every key that its mapping has already."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:  # an alias: the graph may even be circular
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            keys: dict[tuple[str, str], yaml.Node] = {}
            for key, value in node.value:
                first = keys.setdefault((key.tag, str(key.value)), key)
                if first is not key:
                    yield key, first
                waiting.append(value)
        elif isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)


def _line(node: yaml.Node) -> int:
    line: int = node.start_mark.line + 1
    return line
