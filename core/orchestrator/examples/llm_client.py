"""Talk to a running service from the command line.

    python core/orchestrator/examples/llm_client.py --message "Tell me a story" --persona-id cherry
    python core/orchestrator/examples/llm_client.py --mode direct --message "…" --system "You are a helpful AI expert."

It needs nothing of this project but its HTTP API, so it may serve as a start for a client of your own.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

try:
    import httpx
except ModuleNotFoundError:
    # Outside the project's environment, as in a second terminal: go on inside it, where httpx is.
    _python = Path(__file__).resolve().parents[3] / ".venv" / "bin" / "python"
    if not _python.exists() or Path(sys.prefix).resolve() == _python.parents[1].resolve():
        sys.exit("error: httpx is not installed; 'make install' sets everything up")
    os.execv(_python, [str(_python), *sys.argv])  # noqa: S606 - our own interpreter, our own arguments

DEFAULT_URL = "http://127.0.0.1:8000"
# The service answers within its own deadline, after the turns before this one; a client need not be less patient.
_READ_TIMEOUT_SECONDS = 900


class ClientError(Exception):
    """The service is not up, or refused the request; the message says so."""


def interact(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send a message to a persona and return the service's answer.

    Raises:
        ClientError: the service is not up, or refused the request.
    """
    return _post(url, "/api/llm/interact", body)


def direct(url: str, body: dict[str, Any]) -> dict[str, Any]:
    """Send messages straight to a model and return the service's answer.

    Raises:
        ClientError: the service is not up, or refused the request.
    """
    return _post(url, "/api/llm/direct", body)


def _post(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    try:
        response = httpx.post(f"{url}{path}", json=body, timeout=httpx.Timeout(10, read=_READ_TIMEOUT_SECONDS))
        answer = response.json()
    except httpx.UnsupportedProtocol as error:
        raise ClientError(f"{url} is not an http:// or https:// address") from error
    except httpx.ConnectError as error:
        raise ClientError(f"the service is not up at {url}; start it with 'make run', or name another --url") from error
    except httpx.HTTPError as error:
        raise ClientError(f"{url} did not answer: {error or type(error).__name__}") from error
    except ValueError as error:
        raise ClientError(f"{url} answered {response.status_code}, but not in JSON: is it another service?") from error
    if response.is_error:
        raise ClientError(_problem(response.status_code, answer))
    result: dict[str, Any] = answer
    return result


def _problem(status: int, answer: dict[str, Any]) -> str:
    lines = [f"{status} {answer.get('error_type', '')}: {answer.get('detail', answer)}"]
    lines += [f"  {wrong['path']}: {wrong['detail']}" for wrong in answer.get("errors", [])[1:]]
    if "interaction_id" in answer:
        lines.append(f"  interaction: {answer['interaction_id']}")
    return "\n".join(lines)


def describe(answer: dict[str, Any]) -> str:
    """Return what is worth knowing about an answer, besides its text: a line each."""
    usage = answer["usage"]
    cost = "cost unknown" if usage["cost_usd"] is None else f"{usage['cost_usd']:.6f} USD"
    facts = {
        "persona": _with_version(answer),
        "model": answer["model"] or "none answered",
        "provider": answer["provider"],
        "tokens": f"{_count(usage['prompt_tokens'])} prompt + {_count(usage['completion_tokens'])} completion"
        f" = {_count(usage['total_tokens'])}, {cost}",
        "attempts": _attempts(answer["attempts"]),
        "error": answer.get("error") and f"{answer['error']['type']}: {answer['error']['detail']}",
        "session": answer.get("session_id") and f"{answer['session_id']}  (continue with --session-id)",
    }
    return "\n".join(f"{name + ':':<10}{fact}" for name, fact in facts.items() if fact)


def _with_version(answer: dict[str, Any]) -> str | None:
    if "persona_name" not in answer:
        return None
    return f"{answer['persona_name']} ({answer['persona_id']}, version {answer['persona_version']})"


def _count(tokens: int | None) -> str:
    return "?" if tokens is None else str(tokens)


def _attempts(attempts: list[dict[str, Any]]) -> str | None:
    """Return the calls made, where there was more to it than one success."""
    if [attempt["status"] for attempt in attempts] == ["succeeded"]:
        return None
    return ", ".join(f"{attempt['model']} {_outcome(attempt)}" for attempt in attempts)


def _outcome(attempt: dict[str, Any]) -> str:
    skipped = attempt["status"] == "skipped"
    return str(attempt["status"] if skipped else attempt["error_type"] or attempt["status"])


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Talk to a running service of the AI Orchestration System.")
    parser.add_argument("--message", required=True, help="what to say")
    parser.add_argument("--mode", choices=("interact", "direct"), default="interact", help="default: interact")
    parser.add_argument("--persona-id", help="who answers; default: the service's own")
    parser.add_argument("--system", help="the system message of a direct completion")
    parser.add_argument("--model", help="such as openai/gpt-4, or provider:model")
    parser.add_argument("--fallback-model", action="append", help="asked when the model fails; may be repeated")
    parser.add_argument("--user-id", default="user123", help="default: user123")
    parser.add_argument("--session-id", help="the conversation to continue; default: a new one")
    parser.add_argument("--url", default=DEFAULT_URL, help=f"default: {DEFAULT_URL}")
    options = parser.parse_args(arguments)
    out_of_place = (
        {"--system": options.system}
        if options.mode == "interact"
        else {
            "--persona-id": options.persona_id,
            "--session-id": options.session_id,
        }
    )
    for flag, value in out_of_place.items():
        if value is not None:
            parser.error(f"{flag} has no meaning in mode {options.mode}")
    return options


def body_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the request that the options describe."""
    body = {"user_id": options.user_id, "model": options.model, "fallback_models": options.fallback_model}
    if options.mode == "interact":
        body |= {
            "message": options.message,
            "persona_id": options.persona_id,
            "session_id": options.session_id,
        }
    else:
        system = [{"role": "system", "content": options.system}] if options.system is not None else []
        body["messages"] = [*system, {"role": "user", "content": options.message}]
    return {name: value for name, value in body.items() if value is not None}


def main() -> None:
    """Send one message and print the reply."""
    options = parse_arguments()
    send = interact if options.mode == "interact" else direct
    try:
        answer = send(options.url.rstrip("/"), body_of(options))
    except ClientError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nno longer waiting; the service finishes the reply all the same")
    print(answer["message"] if options.mode == "interact" else answer["content"])  # noqa: T201
    print(f"\n{describe(answer)}")  # noqa: T201


if __name__ == "__main__":
    main()
