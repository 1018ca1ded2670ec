"""A chat of a real Open WebUI, replayed over sockets: `open_webui_captured.json` says how it was captured."""

import json
from pathlib import Path

import aiohttp

from tests.clients.conftest import Front

CAPTURED = json.loads(Path(__file__).with_name("open_webui_captured.json").read_text())
CHAT, USER = CAPTURED["chat_id"], CAPTURED["headers"]["X-OpenWebUI-User-Id"]


async def test_a_real_chat_leaves_one_conversation_and_a_branch_and_no_task_is_a_turn(front: Front) -> None:
    replies: list[str] = []
    async with aiohttp.ClientSession() as session:
        for request in CAPTURED["requests"]:
            headers = {
                **CAPTURED["headers"],
                "Authorization": f"Bearer {front.key}",
                "Content-Type": "application/json",
            }
            if request["chat"]:
                headers["X-OpenWebUI-Chat-Id"] = CHAT
            body = json.dumps(request["body"]) if request["body"] else None
            if body and replies:
                body = body.replace('"{{the first reply}}"', json.dumps(replies[0]))
            url = front.base_url + request["path"]
            async with session.request(request["method"], url, headers=headers, data=body) as response:
                assert response.status == 200, await response.text()
                answer = await response.text()
            if body and not replies:
                replies.append(json.loads(answer)["choices"][0]["message"]["content"])

    chat, regenerated = await front.sessions(USER)
    assert (chat["session_id"], regenerated["conversation_id"], regenerated["forked_from"]) == (CHAT, CHAT, CHAT)
    for branch in (chat, regenerated):
        transcript = await front.transcript(branch["session_id"], USER)
        assert [words for role, words in transcript if role == "user"] == ["My name is Ada", "What is my name?"]
        assert 'Before that you said: "My name is Ada"' in transcript[-1][1]
