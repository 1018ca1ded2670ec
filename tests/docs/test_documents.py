"""What the documents point to exists."""

import re
from pathlib import Path

import pytest

from core.orchestrator import errors
from tests.docs.documents import CONTRIBUTING, DOCUMENTS, EXTENDING, README, anchors, blocks, links, table_rows
from tests.harness import ROOT

MAKE_VERBS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _name(document: Path) -> str:
    return str(document.relative_to(ROOT))


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_link_leads_somewhere(document: Path) -> None:
    for link in links(document):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_path_in_the_text_exists(document: Path) -> None:
    folders = "api|activities|chat|core|docs|embedded|personas|temporal|tests|workflows"  # `standin/down` is a model
    for path in re.findall(rf"`((?:{folders})/[\w./-]*)`", document.read_text()):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_every_verb_of_make_exists(document: Path) -> None:
    assert set(re.findall(r"\bmake ([a-z]+)\b(?= *[`|\n])", document.read_text())) <= MAKE_VERBS


def test_only_the_readme_holds_blocks_that_are_run() -> None:
    assert [document for document in DOCUMENTS if blocks(document, "console")] == [README]


def test_contributing_explains_every_verb_of_make() -> None:
    explained = {row[0].strip("`").removeprefix("make ") for row in table_rows(CONTRIBUTING, "Verb")}
    assert explained | {"help"} == MAKE_VERBS


def test_the_kinds_of_error_a_provider_may_raise_are_those_of_the_code() -> None:
    documented = {row[0].strip("`"): row[1].strip("`") for row in table_rows(EXTENDING, "Class")}
    assert documented == {
        kind.__name__: kind.default_error_type.value for kind in errors.LLMProviderError.__subclasses__()
    }


def test_the_defaults_of_a_posture_are_those_of_the_code() -> None:
    documented = {row[0].strip("`"): row[1].strip("`") for row in table_rows(EXTENDING, "Field of `Posture`")}
    posture = errors.Posture()
    assert documented == {"tries": str(posture.tries), "retry_after": "none", "then": "NextStep.NEXT_MODEL"}
    assert (posture.retry_after, posture.then) == (None, errors.NextStep.NEXT_MODEL)


def test_decisions_are_numbered_without_gaps() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    for number, path in enumerate(decisions, 1):
        assert path.name.startswith(f"{number:04}-")
        assert path.read_text().startswith(f"# {number}. ")
