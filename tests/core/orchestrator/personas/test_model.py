from typing import Any

import pytest
from pydantic import ValidationError

from core.orchestrator.errors import PromptError
from core.orchestrator.personas.model import PersonaConfig


def persona(**fields: Any) -> PersonaConfig:
    required = {"id": "ada", "name": "Ada", "description": "a patient engineer.", "fallback_line": "One moment."}
    return PersonaConfig.model_validate(required | fields)


def test_four_fields_are_enough():
    assert persona().render_system_prompt() == "You are Ada, a patient engineer."


def test_the_default_prompt_lists_what_the_persona_says():
    prompt = persona(
        background="Born in a lab.", interaction_style="Calmly.", traits={"wit": 7}, style_rules=["Be brief."]
    ).render_system_prompt()
    assert prompt.startswith("You are Ada, ")
    for line in ("Background: Born in a lab.", "How you talk: Calmly.", "- wit: 7", "- Be brief."):
        assert line in prompt.splitlines()


@pytest.mark.parametrize("identifier", ["a", "cherry", "9-lives", "a" * 64])
def test_id_accepts_what_fits_a_url(identifier: str):
    assert persona(id=identifier).id == identifier


@pytest.mark.parametrize("identifier", ["", "Cherry", "-a", "a b", "a" * 65, "a\n", "ä"])
def test_id_refuses_the_rest(identifier: str):
    with pytest.raises(ValidationError):
        persona(id=identifier)


@pytest.mark.parametrize(
    "fields",
    [
        {"traits": {"wit": -1}},
        {"traits": {"wit": 101}},
        {"traits": {"wit": True}},
        {"traits": {"wit": "80"}},
        {"traits": {"wit": 80.0}},
        {"traits": {"": 80}},
        {"temperature": 2.1},
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": True},
        {"max_tokens": 0},
        {"fallback_models": ["m"] * 9},
        {"fallback_models": ["  "]},
        {"model": ""},
        {"name": "   "},
        {"fallback_line": ""},
        {"style_rules": "be brief"},
        {"reply": {"emoji": "some"}},
        {"reply": {"shout": True}},
        {"mood": "fine"},
    ],
)
def test_a_slip_is_refused(fields: dict[str, Any]):
    with pytest.raises(ValidationError):
        persona(**fields)


def test_a_persona_cannot_be_changed():
    with pytest.raises(ValidationError):
        persona().name = "Eve"  # type: ignore[misc]


def test_version_is_twelve_hexadecimal_digits_that_follow_the_content():
    version = persona(traits={"a": 1, "b": 2}).version
    assert len(version) == 12
    assert int(version, 16) >= 0
    assert persona(traits={"b": 2, "a": 1}).version == version
    assert persona(traits={"a": 1, "b": 3}).version != version


def test_version_of_a_known_persona_never_changes_silently():
    # It moves with every new field and with the default prompt: replies from before then show another version.
    assert persona().version == "0cc1caea8c76"


def test_a_turn_is_no_part_of_content_version_or_equality():
    bare = persona()
    turn = bare.for_turn("user123", {"mood": "merry"})
    assert turn == bare
    assert hash(turn) == hash(bare)
    assert turn.version == bare.version
    assert turn.model_dump() == bare.model_dump()
    assert bare != persona(name="Eve")
    assert bare != "ada"


def test_for_turn_leaves_the_original_alone():
    bare = persona(system_prompt="{{ name }} and {{ user_id }}")
    assert bare.for_turn("user123", {}).render_system_prompt() == "Ada and user123"
    assert bare.render_system_prompt() == "Ada and"


def test_a_template_reads_the_context():
    friendly = persona(system_prompt="Be {{ context.mood or 'calm' }}.")
    assert friendly.render_system_prompt() == "Be calm."
    assert friendly.for_turn("u", {"mood": None}).render_system_prompt() == "Be calm."
    assert friendly.for_turn("u", {"mood": "merry"}).render_system_prompt() == "Be merry."


@pytest.mark.parametrize("context", [{}, {"user": {}}, {"user": {"home": {}}}, {"user": None}, {"user": {"home": 3}}])
def test_a_missing_key_reads_as_nothing_at_any_depth(context: dict[str, Any]):
    nested = persona(system_prompt="Ada of {{ (context.user or {}) and context.user.home.town or 'nowhere' }}")
    if context == {"user": {"home": 3}}:
        with pytest.raises(PromptError, match="persona 'ada': system_prompt"):
            nested.for_turn("u", context).render_system_prompt()
    else:
        assert nested.for_turn("u", context).render_system_prompt() == "Ada of nowhere"


def test_a_missing_key_inside_a_list_of_the_context_reads_as_nothing():
    listing = persona(system_prompt="Friends: {% for friend in context.friends %}{{ friend.name }};{% endfor %}")
    assert listing.for_turn("u", {"friends": [{"name": "Bo"}, {}]}).render_system_prompt() == "Friends: Bo;;"


def test_no_key_of_the_context_is_taken_for_a_method():
    listing = persona(system_prompt="You have {{ context.items or 'nothing' }}")
    assert listing.render_system_prompt() == "You have nothing"
    assert listing.for_turn("u", {"items": "two hats"}).render_system_prompt() == "You have two hats"


def test_text_of_the_context_is_never_run_as_a_template():
    echo = persona(system_prompt="Say {{ context.word }}")
    assert echo.for_turn("u", {"word": "{{ 7 * 7 }}"}).render_system_prompt() == "Say {{ 7 * 7 }}"


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("Hi {{ name", "line 1 of the template"),
        ("Hi\n{% if %}", "line 2 of the template"),
        ("Hi {{ nmae }}", "'nmae' is undefined"),
        ("Hi {{ traits.wti }}", "no attribute 'wti'"),
        ("Hi {{ context.age + 1 }}", "'age' is undefined"),
        ("{{ context.nothing }}", "renders to nothing"),
        ("Hi {{ name.__class__.__mro__ }}", "unsafe"),
        ("Hi {{ style_rules.append('x') }}", "unsafe|not safely"),
        ("Hi {{ 1 // 0 }}", "division"),
        ("Hi {% include 'etc' %}", "no loader"),
    ],
)
def test_a_template_that_cannot_work_is_refused_at_once(template: str, complaint: str):
    with pytest.raises(ValidationError, match=complaint):
        persona(system_prompt=template)


def test_a_broken_field_is_not_reported_a_second_time_through_the_template():
    with pytest.raises(ValidationError) as caught:
        persona(name=3, system_prompt="Hi {{ name }}")
    assert [error["loc"] for error in caught.value.errors()] == [("name",)]


def test_a_template_that_fails_over_one_turn_names_the_persona():
    counting = persona(system_prompt="{{ name }}{% if context.age %}{{ context.age + 1 }}{% endif %}")
    with pytest.raises(PromptError, match="persona 'ada': system_prompt: the template failed"):
        counting.for_turn("u", {"age": "old"}).render_system_prompt()


def test_a_context_nested_beyond_reason_fails_as_a_prompt():
    bottomless: dict[str, Any] = {}
    for _ in range(100_000):
        bottomless = {"more": bottomless}
    with pytest.raises(PromptError):
        persona().for_turn("u", bottomless).render_system_prompt()
