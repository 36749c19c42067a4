"""Another server's answers, with memories put into what it is asked. No weights are loaded for it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from duomem_mlx.student.serve.answers import Answer
from duomem_mlx.student.serve.app import Asked, unless_gone
from duomem_mlx.student.serve.shapes import ApiError, event, told, with_memories

TIMEOUT = httpx2.Timeout(600, connect=10)  # seconds; between two pieces of an answer
_PASSED_BACK = ("content-type", "retry-after")


class Upstream:
    """A server of OpenAI's kind at `base_url`, as far as before /chat/completions. With a `key` that is shown to it,
    else what the client shows, unless that was for us (`passes_keys` False)."""

    def __init__(self, base_url: str, key: str | None, passes_keys: bool) -> None:
        self._url = base_url.rstrip("/")
        self._key = key
        self._passes_keys = passes_keys
        self._client = httpx2.AsyncClient(timeout=TIMEOUT, follow_redirects=False)
        self.alive = True

    async def close(self) -> None:
        self.alive = False
        await self._client.aclose()

    async def models(self, request: Request) -> Response:
        reply = await self._sent(request, "GET", "/models")
        return _passed_back(reply, await _whole(reply), {})

    async def answer(self, asked: Asked) -> Response:
        body = {**asked.body, "messages": with_memories(asked.messages, asked.examples, bool(asked.body.get("tools")))}
        reply = await unless_gone(asked.request, self._sent(asked.request, "POST", "/chat/completions", body))
        streams = reply.headers.get("content-type", "").startswith("text/event-stream")
        if streams and reply.status_code == 200:
            events = _events(asked, reply)
            return StreamingResponse(events, headers=asked.headers, media_type="text/event-stream")
        data = await unless_gone(asked.request, _whole(reply))
        if reply.status_code == 200 and isinstance(answer := _json(data), dict):
            data = json.dumps({**answer, **told(asked.memories)}, ensure_ascii=False).encode()
            await _finish(asked, Answer(answer, "message"))
        return _passed_back(reply, data, asked.headers)

    async def _sent(self, request: Request, method: str, path: str, body: Any = None) -> httpx2.Response:
        """Raises ApiError (502) where there is no reply."""
        shown = f"Bearer {self._key}" if self._key else request.headers.get("authorization")
        headers = {"Authorization": shown} if shown and (self._key or self._passes_keys) else {}
        wanted = self._client.build_request(method, self._url + path, json=body, headers=headers)
        try:
            return await self._client.send(wanted, stream=True)
        except httpx2.HTTPError as error:
            raise _silent(error) from None


async def _finish(asked: Asked, answer: Answer) -> None:
    if answer.heard:
        await asked.finish(answer.message)


async def _whole(reply: httpx2.Response) -> bytes:
    try:
        return await reply.aread()
    except httpx2.HTTPError as error:
        raise _silent(error) from None
    finally:
        await reply.aclose()


async def _events(asked: Asked, reply: httpx2.Response) -> AsyncIterator[bytes]:
    """The events as they come; those at the end of the answer name the memories."""
    answer = Answer()
    try:
        async for line in _lines(reply):
            data = line.removeprefix(b"data:").strip() if line.startswith(b"data:") else b""
            chunk = _json(data)
            if isinstance(chunk, dict):
                answer.add(chunk, "delta")
                choices = chunk.get("choices")
                if not choices or any(isinstance(c, dict) and c.get("finish_reason") for c in choices):
                    line = f"data: {json.dumps({**chunk, **told(asked.memories)})}\n".encode()
            elif data == b"[DONE]":
                await _finish(asked, answer)
            yield line
    except httpx2.HTTPError as error:
        yield event(_silent(error).body)
    finally:
        await reply.aclose()


async def _lines(reply: httpx2.Response) -> AsyncIterator[bytes]:
    """Lines of bytes, with what ends them; text would be cut at U+2028 and its like, too."""
    rest = b""
    async for piece in reply.aiter_bytes():
        *whole, rest = (rest + piece).split(b"\n")
        for line in whole:
            yield line + b"\n"
    if rest:
        yield rest


def _silent(error: Exception) -> ApiError:
    said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return ApiError(502, f"The server behind this one gave no answer: {said}.")


def _passed_back(reply: httpx2.Response, data: bytes, headers: dict[str, str]) -> Response:
    kept = {name: reply.headers[name] for name in _PASSED_BACK if name in reply.headers}
    return Response(data, reply.status_code, {**kept, **headers})


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
