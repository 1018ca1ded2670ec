"""Which of a client's tools the stand-in calls: those that it is asked to call, and none once it has been answered.

    tool_choice "required"                     the first tool on offer
    tool_choice with the name of a function    that one
    a last message that says `call weather`    that one, if it is on offer; `call weather {"city": "Rome"}`
                                               says with which arguments

Other arguments are the simplest that fit the tool's schema. A conversation that ends with what a tool has said is
answered in words, whatever the parameters say: so no client goes round in circles.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from standin import reply
from standin.forms import sample
from standin.ledger import Call

Called = tuple[str, str]
"""A tool's name, and its arguments as JSON."""

_UNKNOWN: Called = ("nobody_offered_this", "{}")
_ASKED_FOR = re.compile(r"\bcall ([\w.-]*\w)")


def asked_for(call: Call) -> list[Called]:
    """Return the tools that a call asks for."""
    return _chosen(call, call.parameters.get("tool_choice"))


def demanded(call: Call) -> list[Called]:
    """Return the tools that a call asks for; else the first on offer, or one that is not, where none is."""
    if call.messages[-1].get("role") == "tool":
        return []
    return _chosen(call, call.parameters.get("tool_choice", "required")) or [_UNKNOWN]


def _chosen(call: Call, choice: object) -> list[Called]:
    offered = dict(_offered(call.parameters.get("tools")))
    if not offered or choice == "none" or call.messages[-1].get("role") == "tool":
        return []
    said = reply.text_of(call.messages[-1])
    if named := [_called(found, said, offered) for found in _ASKED_FOR.finditer(said) if found[1] in offered]:
        return named
    match choice:
        case "required":
            name = next(iter(offered))
        case {"function": {"name": str(name)}} if name in offered:
            pass
        case _:
            return []
    return [(name, _simplest(offered[name]))]


def _offered(tools: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for tool in tools if isinstance(tools, list) else ():
        match tool:
            case {"function": {"name": str(name), "parameters": Mapping() as schema}}:
                yield name, schema
            case {"function": {"name": str(name)}}:
                yield name, {}


def _called(found: re.Match[str], said: str, offered: Mapping[str, Mapping[str, Any]]) -> Called:
    try:
        arguments, _ = json.JSONDecoder().raw_decode(said[found.end() :].lstrip())
    except ValueError:
        arguments = None
    written = json.dumps(arguments, ensure_ascii=False) if isinstance(arguments, dict) else _simplest(offered[found[1]])
    return found[1], written


def _simplest(schema: Mapping[str, Any]) -> str:
    return json.dumps(sample({"type": "object", **schema}, "something"), ensure_ascii=False)
