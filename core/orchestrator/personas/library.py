"""Every persona of a directory, read once, while a process starts.

All problems of all files are reported together, one line each, so that mending personas takes one round and not ten.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from core.orchestrator.errors import ConfigurationError, UnknownResourceError
from core.orchestrator.personas.model import PersonaConfig
from core.orchestrator.personas.yaml_file import FileError, YamlFile, read_yaml_file


class PersonaLibrary:
    """Personas by id, in the order of their ids."""

    def __init__(self, personas: Iterable[PersonaConfig]) -> None:
        self._personas = {persona.id: persona for persona in sorted(personas, key=lambda persona: persona.id)}

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read every `*.yaml` and `*.yml` of a directory; hidden files are somebody else's.

        Raises:
            ConfigurationError: one line for each problem, as `personas/cherry.yaml:12: traits.warmth: …`.
        """
        personas: dict[str, PersonaConfig] = {}
        origins: dict[str, Path] = {}
        problems: list[FileError] = []
        for path in _persona_files(directory):
            try:
                file = read_yaml_file(path)
                problems.extend(file.repeated_keys())
                persona = PersonaConfig.model_validate(file.values)
            except FileError as problem:
                problems.append(problem)
            except ValidationError as error:
                problems.extend(_problems(file, error))
            else:
                if persona.id in personas:
                    problems.append(file.error(["id"], f"'{persona.id}' is taken by {origins[persona.id]}"))
                else:
                    personas[persona.id] = persona
                    origins[persona.id] = path
        if problems:
            raise ConfigurationError("\n".join(str(problem) for problem in problems))
        return cls(personas.values())

    def get(self, persona_id: str) -> PersonaConfig:
        """Return the persona of that id.

        Raises:
            UnknownResourceError: there is none.
        """
        try:
            return self._personas[persona_id]
        except KeyError:
            raise UnknownResourceError("persona", persona_id) from None

    def __contains__(self, persona_id: str) -> bool:
        return persona_id in self._personas

    def __iter__(self) -> Iterator[PersonaConfig]:
        return iter(self._personas.values())

    def __len__(self) -> int:
        return len(self._personas)


def _persona_files(directory: Path) -> list[Path]:
    try:
        files = sorted(
            path
            for path in directory.iterdir()
            if path.suffix.lower() in {".yaml", ".yml"} and not path.name.startswith(".")
        )
    except OSError as error:
        raise ConfigurationError(f"{directory}: personas cannot be read: {error.strerror}") from error
    if not files:
        raise ConfigurationError(f"{directory}: holds no personas (no *.yaml or *.yml file)")
    return files


def _problems(file: YamlFile, error: ValidationError) -> list[FileError]:
    found = [
        file.error(detail["loc"], detail["msg"].removeprefix("Value error, "))
        for detail in error.errors(include_url=False)
    ]
    return sorted(found, key=lambda problem: problem.line or 0)
