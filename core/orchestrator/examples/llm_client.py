"""Talk to a running service from the command line.

    python core/orchestrator/examples/llm_client.py --message "Tell me a story" --persona-id cherry
    python core/orchestrator/examples/llm_client.py --message "Tell me a story" --stream
    python core/orchestrator/examples/llm_client.py --mode direct --message "…" --system "You are a helpful AI expert."

It needs nothing of this project but its HTTP API: the other files of this folder are all it uses, and may serve as a
start for a client of your own.
"""

import argparse
import io
import os
import sys
from pathlib import Path
from typing import Any

try:
    from core.orchestrator.examples.reply_reducer import Reply
    from core.orchestrator.examples.service_client import DEFAULT_URL, Client, ClientError
    from core.orchestrator.examples.terminal import GrowingText, clean, note_of
except ModuleNotFoundError:
    # Outside the project's environment, as in a second terminal: go on inside it, where everything is.
    _python = Path(__file__).resolve().parents[3] / ".venv" / "bin" / "python"
    if not _python.exists() or Path(sys.prefix).resolve() == _python.parents[1].resolve():
        sys.exit("error: the project is not installed; 'make install' sets everything up")
    os.execv(_python, [str(_python), *sys.argv])  # noqa: S606 - our own interpreter, our own arguments


def _dim(line: str) -> None:
    print(f"\x1b[2m{line}\x1b[0m" if sys.stderr.isatty() else line, file=sys.stderr, flush=True)  # noqa: T201


def _write(text: str) -> None:
    print(text, end="", flush=True)  # noqa: T201


def send(client: Client, options: argparse.Namespace) -> dict[str, Any]:
    """Send the message, wait, print the reply, and return the service's answer."""
    body = body_of(options)
    answer = client.interact(body) if options.mode == "interact" else client.direct(body)
    text = answer["message"] if options.mode == "interact" else answer["content"]
    if text is None:
        raise ClientError(_ending(answer))
    _write(f"{clean(text) if sys.stdout.isatty() else text}\n")
    return answer


def send_and_stream(client: Client, options: argparse.Namespace) -> dict[str, Any]:
    """Send the message, show the reply as it comes, and return the interaction as it ended."""
    reply = Reply()
    stream = client.stream_interact if options.mode == "interact" else client.stream_direct
    screen = GrowingText(_write, _dim) if sys.stdout.isatty() else None
    client.notice = note_line = screen.note if screen else _dim
    for event in stream(body_of(options), reply):
        if (note := note_of(event)) is not None:
            note_line(note)
        if screen:
            screen.show(reply.text)
    if screen:
        screen.end(reply.text)
    answer = reply.response
    if answer is None:
        raise ClientError("the stream ended before the reply")
    if answer["message"] is None:
        raise ClientError(_ending(answer))
    if not screen:
        _write(f"{reply.text}\n")
    if answer["status"] != "completed":
        _dim(_ending(answer))
    return answer


def _ending(answer: dict[str, Any]) -> str:
    error = answer["error"]
    return clean(f"{error['type']}: {error['detail']}" if error else f"the reply is {answer['status']}")


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
    if answer.get("persona_name") is None:
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
    parser = argparse.ArgumentParser(
        description="Talk to a running service of the AI Orchestration System.",
        epilog="After a lost connection the client goes on where it was; no message is answered twice.",
    )
    parser.add_argument("--message", required=True, help="what to say")
    parser.add_argument("--mode", choices=("interact", "direct"), default="interact", help="default: interact")
    parser.add_argument("--persona-id", help="who answers; default: the service's own")
    parser.add_argument("--system", help="the system message of a direct completion")
    parser.add_argument("--model", help="such as openai/gpt-4, or provider:model")
    parser.add_argument("--fallback-model", action="append", help="asked when the model fails; may be repeated")
    parser.add_argument("--user-id", help="default: the user of the key; without a key, user123")
    parser.add_argument("--session-id", help="the conversation to continue; default: a new one")
    parser.add_argument(
        "--stream",
        action="store_true",
        help="show the reply as it comes, and on stderr what fails meanwhile; "
        "where the output is no terminal, the reply is printed once, when it is whole",
    )
    parser.add_argument("--url", default=DEFAULT_URL, help=f"default: {DEFAULT_URL}")
    parser.add_argument(
        "--api-key",
        default=os.environ.get("ORCHESTRATOR_API_KEY"),
        help="the key of the service, where it asks for one; default: ORCHESTRATOR_API_KEY, which no list of processes "
        "shows",
    )
    options = parser.parse_args(arguments)
    if options.user_id is None and not options.api_key:
        options.user_id = "user123"
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
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a model may say what a terminal cannot
    try:
        with Client(options.url, api_key=options.api_key, notice=_dim) as client:
            answer = (send_and_stream if options.stream else send)(client, options)
    except ClientError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        found = "/api/llm/interactions" + (f"?user_id={options.user_id}" if options.user_id else "")
        print(f"\nno longer waiting; the service finishes the reply all the same: {found}", file=sys.stderr)  # noqa: T201
        sys.exit(130)
    print(f"\n{describe(answer)}")  # noqa: T201


if __name__ == "__main__":
    main()
