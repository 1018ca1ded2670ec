"""`orchestrator keys`, as its process would run it."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import cli
from core.orchestrator.access.caller import Caller, Scope
from core.orchestrator.access.keys import KeyRing

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command and return exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, **settings: str) -> tuple[int, str, str]:
        for name, value in {"COLUMNS": "80", **settings}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["orchestrator", "keys", *arguments])
        code = cli.run()
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_a_key_for_a_program_opens_what_was_asked_for(run: Run) -> None:
    code, output, _ = run("create", "--name", "web", "--user", "al ice", "--scopes", "interact,read", "--json")
    assert code == 0
    made = json.loads(output)
    assert made.keys() == {"key", "entry"}
    caller = KeyRing.parse([made["entry"]]).caller(made["key"])
    assert caller == Caller(frozenset({Scope.INTERACT, Scope.READ}), "web", "al ice")


def test_a_key_for_people_is_shown_once_and_with_its_entry(run: Run) -> None:
    code, output, _ = run("create", "--name", "web", "--scopes", "admin")
    assert code == 0
    (key,) = re.findall(r"^  (ork_\S+)$", output, re.MULTILINE)
    (entry,) = re.findall(r"^  (name=\S+)$", output, re.MULTILINE)
    assert KeyRing.parse([entry]).caller(key) == Caller(frozenset({Scope.ADMIN}), "web")
    assert "API_KEYS" in output
    assert output.count("ork_") == 1


def test_the_keys_that_there_are_are_listed_without_their_hashes(run: Run) -> None:
    entries = [
        json.loads(run("create", *arguments, "--json")[1])["entry"]
        for arguments in (
            ("--name", "web", "--user", "[bold]alice", "--scopes", "read,interact"),
            ("--name", "ops", "--scopes", "admin"),
        )
    ]
    code, output, _ = run("list", API_KEYS=",".join(entries))
    assert code == 0
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in output.splitlines() if line.startswith("│")]
    assert cells == [["web", "[bold]alice", "interact read"], ["ops", "any", "admin"]]
    code, output, _ = run("list", "--json", API_KEYS=",".join(entries))
    assert json.loads(output) == [
        {"name": "web", "user": "[bold]alice", "scopes": ["interact", "read"]},
        {"name": "ops", "user": None, "scopes": ["admin"]},
    ]


def test_without_keys_the_list_says_what_that_means(run: Run) -> None:
    assert run("list") == (
        0,
        "API_KEYS is empty: the service asks for no key, and listens on this machine alone.\n",
        "",
    )
    assert run("list", "--json")[:2] == (0, "[]\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--name", "web", "--scopes", "write"), "no key was made: its scopes must be some of interact, read, admin"),
        (("--name", "a b", "--scopes", "read"), "no key was made: its name must be"),
        (("--name", "web", "--scopes", "read", "--user", ""), "no key was made: its user must have"),
        (("--name", "web", "--scopes", "read,admin", "--user", "alice"), "no key was made: one with the scope admin"),
    ],
)
def test_what_makes_no_key_is_one_clear_line(run: Run, arguments: tuple[str, ...], words: str) -> None:
    code, output, errors = run("create", *arguments)
    assert (code, output, len(errors.splitlines())) == (2, "", 1)
    assert errors.startswith(f"error: {words}")


def test_a_wrong_entry_is_told(run: Run) -> None:
    code, _, errors = run("list", API_KEYS="web")
    assert code == 2
    assert errors.startswith("error: API_KEYS: entry 1: an entry looks like ")
