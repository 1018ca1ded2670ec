"""The description of the API: complete, pleasant to read, and true."""

import re
from typing import Any

import pytest

from tests.harness import System

OPENAI_ERROR = {"application/json": {"schema": {"$ref": "#/components/schemas/OpenAIErrorBody"}}}
PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}


@pytest.fixture
async def description(system: System) -> dict[str, Any]:
    found: dict[str, Any] = (await system.client.get("/openapi.json")).json()
    return found


def _operations(description: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]


async def test_every_example_is_accepted(system: System, description: dict[str, Any]) -> None:
    accepted = 0
    for path, method, operation in _operations(description):
        media = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        for example in media.get("examples", {}).values():
            response = await system.client.request(method, path, json=example["value"])
            assert response.status_code == 200, (path, example, response.text)
            accepted += 1
    assert accepted == 5


async def test_every_error_is_described_in_the_form_of_its_path(description: dict[str, Any]) -> None:
    for path, _, operation in _operations(description):
        for status, response in operation["responses"].items():
            if status.startswith(("4", "5")) and path not in ("/healthz", "/readyz"):
                expected = OPENAI_ERROR if path.startswith("/v1/") else PROBLEM
                assert response["content"] == expected, (path, status)
    assert "HTTPValidationError" not in str(description)
    schemas = description["components"]["schemas"]
    assert {"type", "title", "status", "detail", "instance", "error_type"} <= schemas["Problem"]["properties"].keys()
    assert {"message", "type", "param", "code"} == schemas["OpenAIError"]["properties"].keys()


async def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    schemas = description["components"]["schemas"]

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    assert {reference.removeprefix("#/components/schemas/") for reference in references(description)} <= schemas.keys()


async def test_every_operation_parameter_and_request_field_is_described(description: dict[str, Any]) -> None:
    for path, _, operation in _operations(description):
        assert operation["summary"], path
        assert operation["description"], path
        for parameter in operation.get("parameters", []):
            assert parameter.get("description"), (path, parameter["name"])
    for name in (
        *("InteractBody", "DirectBody", "ChatMessage", "ContentPart", "Problem", "InvalidField"),
        *("ChatBody", "ChatTurn", "OpenAIError", "ResponseBody"),
    ):
        for field, schema in description["components"]["schemas"][name]["properties"].items():
            assert schema.get("description"), (name, field)


async def test_the_docs_page_needs_nothing_from_elsewhere(system: System) -> None:
    page = (await system.client.get("/docs")).text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(sources) >= 2
    for source in sources:
        assert source.startswith(system.url), source
        assert (await system.client.get(source)).is_success
    assert (await system.client.get("/")).headers["location"] == f"{system.url}/docs"
