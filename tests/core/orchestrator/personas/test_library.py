from pathlib import Path

import pytest

from core.orchestrator.errors import ConfigurationError, UnknownResourceError
from core.orchestrator.personas.library import PersonaLibrary

SHIPPED = Path(__file__).parents[4] / "personas"

ADA = """\
# Ada
id: ada
name: Ada
description: a patient engineer.
fallback_line: One moment.
"""


def problems_of(directory: Path, text: str | bytes, name: str = "ada.yaml") -> list[str]:
    """Return the complaints about one file, without its directory."""
    (directory / name).write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ConfigurationError) as caught:
        PersonaLibrary.load(directory)
    return str(caught.value).replace(f"{directory}/", "").splitlines()


def test_a_library_finds_personas_by_id_and_lists_them_in_order(tmp_path: Path):
    (tmp_path / "1.yml").write_text(ADA.replace("ada", "zoe"))
    (tmp_path / "2.YAML").write_text(ADA)
    (tmp_path / "notes.txt").write_text("not a persona")
    (tmp_path / ".2.yaml").write_text("not: [a persona")
    library = PersonaLibrary.load(tmp_path)
    assert [persona.id for persona in library] == ["ada", "zoe"]
    assert len(library) == 2
    assert "ada" in library
    assert "eve" not in library
    assert library.get("zoe").id == "zoe"


def test_an_unknown_persona_is_an_unknown_resource(tmp_path: Path):
    (tmp_path / "ada.yaml").write_text(ADA)
    with pytest.raises(UnknownResourceError, match="unknown persona 'eve'"):
        PersonaLibrary.load(tmp_path).get("eve")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"{ADA}traits:\n  wit: 7\n  warmth: 120\n", "8: traits.warmth: Input should be less than or equal to 100"),
        (f"{ADA}traits: {{wit: yes}}\n", "6: traits.wit: Input should be a valid integer"),
        (f"{ADA}traits:\n  yes: 7\n", "6: traits.1: Input should be a valid string"),
        (f"{ADA}style_rules:\n  - Be brief.\n  - 7\n", "8: style_rules.1: Input should be a valid string"),
        (f"{ADA}mood: fine\n", "6: mood: Extra inputs are not permitted"),
        (f"{ADA}reply:\n  emoji: keep\n  shout: true\n", "8: reply.shout: Extra inputs are not permitted"),
        (f"{ADA}greeting: 2026-01-01\n", "6: greeting: Input should be a valid string"),
        (
            f"{ADA}\nsystem_prompt: |\n  Hi {{{{ nmae }}}}\n",
            "7: system_prompt: the template failed: 'nmae' is undefined",
        ),
        (f"{ADA}7: seven\n", "6: 7: Keys should be strings"),
        (ADA.replace("name: Ada\n", ""), "2: name: Field required"),
        (ADA.replace("fallback_line: One moment.\n", ""), "2: fallback_line: Field required"),
        (f"{ADA}name: Eve\n", "6: 'name' is given twice, first in line 3"),
        (f"{ADA}traits:\n  wit: 7\n  wit: 8\n", "8: 'wit' is given twice, first in line 7"),
        (f"{ADA}reply: {{emoji: keep,\n  emoji: remove}}\n", "7: 'emoji' is given twice, first in line 6"),
        (f"{ADA}traits: {{wit: 7\n", "7: not valid YAML: expected ',' or '}', but got '<stream end>'"),
        (
            f"{ADA}greeting: !!python/name:os.system\n",
            "6: not valid YAML: could not determine a constructor for the tag",
        ),
        (f"{ADA}---\n{ADA}", "6: not valid YAML: but found another document"),
        (f"{ADA}greeting: \x00\n", "6: not valid YAML: special characters are not allowed"),
        (f"{ADA}greeting: b\xe9\n".encode("latin-1"), "6: not UTF-8: byte 0xe9"),
        ("", "1: the file is empty"),
        ("# only a comment\n", "1: the file is empty"),
        ("\n- a\n- b\n", "2: should be a mapping of fields to values"),
        ("just text", "1: should be a mapping of fields to values"),
    ],
)
def test_a_complaint_names_file_line_and_field(tmp_path: Path, text: str | bytes, complaint: str):
    [line] = problems_of(tmp_path, text)
    assert line.startswith(f"ada.yaml:{complaint}")


@pytest.mark.parametrize("value", ["2026-99-99", "0b_", "[" * 5_000])
def test_a_value_that_python_cannot_build_is_a_complaint_about_the_file(tmp_path: Path, value: str):
    [line] = problems_of(tmp_path, f"{ADA}greeting: {value}\n")
    assert line.startswith("ada.yaml")
    assert "not valid YAML" in line


def test_a_circular_file_is_refused(tmp_path: Path):
    [line] = problems_of(tmp_path, f"{ADA}traits: &loop\n  wit: *loop\n")
    assert line.startswith("ada.yaml:7: traits.wit: ")


def test_every_problem_of_every_file_is_told_at_once(tmp_path: Path):
    (tmp_path / "a.yaml").write_text("")
    lines = problems_of(tmp_path, f"{ADA}name: Eve\ntemperature: 3\nmood: fine\ntraits: {{wit: 101}}\n", name="b.yaml")
    places = [line.split(" ")[0] for line in lines]
    assert places == ["a.yaml:1:", "b.yaml:6:", "b.yaml:7:", "b.yaml:8:", "b.yaml:9:"]


def test_a_key_repeated_inside_a_list_is_found_as_well(tmp_path: Path):
    lines = problems_of(tmp_path, f"{ADA}style_rules:\n  - {{a: 1, a: 2}}\n")
    assert lines[0] == "ada.yaml:7: 'a' is given twice, first in line 7"


def test_two_files_with_one_id_are_both_named(tmp_path: Path):
    (tmp_path / "a.yaml").write_text(ADA)
    assert problems_of(tmp_path, ADA, name="b.yaml") == ["b.yaml:2: id: 'ada' is taken by a.yaml"]


def test_a_file_that_cannot_be_read_is_a_complaint(tmp_path: Path):
    (tmp_path / "ada.yaml").mkdir()
    with pytest.raises(ConfigurationError, match=r"ada\.yaml: cannot be read: Is a directory"):
        PersonaLibrary.load(tmp_path)


def test_a_missing_directory_is_named(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="nowhere: personas cannot be read: No such file or directory"):
        PersonaLibrary.load(tmp_path / "nowhere")


def test_a_directory_without_personas_is_an_error(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="holds no personas"):
        PersonaLibrary.load(tmp_path)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path):
    (tmp_path / "ada.yaml").write_bytes(b"\xef\xbb\xbf" + ADA.encode())
    assert "ada" in PersonaLibrary.load(tmp_path)


def test_an_anchor_may_be_reused(tmp_path: Path):
    (tmp_path / "ada.yaml").write_text(f"{ADA}background: &same In a lab.\ngreeting: *same\n")
    assert PersonaLibrary.load(tmp_path).get("ada").greeting == "In a lab."


def test_the_shipped_personas_are_three_characters_of_their_own():
    personas = list(PersonaLibrary.load(SHIPPED))
    assert [persona.id for persona in personas] == ["cherry", "karen", "sophia"]
    for field in ("greeting", "fallback_line", "system_prompt", "temperature", "traits", "version"):
        assert len({str(getattr(persona, field)) for persona in personas}) == 3, field
    for persona in personas:
        assert persona.render_system_prompt().startswith(f"You are {persona.name}, ")
        assert persona.model is None
        assert persona.fallback_models is None


@pytest.mark.parametrize("persona_id", ["cherry", "karen", "sophia"])
def test_a_shipped_prompt_follows_traits_and_context(persona_id: str):
    persona = PersonaLibrary.load(SHIPPED).get(persona_id)
    plain = persona.render_system_prompt()
    assert persona.for_turn("user123", {"topic": "tides"}).render_system_prompt() != plain
    flat = persona.model_copy(update={"traits": dict.fromkeys(persona.traits, 50)})
    assert flat.render_system_prompt() != plain


def test_the_example_in_the_template_file_is_what_a_slip_says(tmp_path: Path):
    text = (SHIPPED / "cherry.yaml").read_text()
    promised = next(line for line in text.splitlines() if "traits.warmth:" in line).removeprefix("#").strip()
    [line] = problems_of(tmp_path, text.replace("warmth: 95", "warmth: 950"), name="cherry.yaml")
    assert f"personas/{line}" == promised
