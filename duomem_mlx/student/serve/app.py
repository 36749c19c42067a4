"""The routes: what is asked of every request before somebody answers it, and what goes wrong in OpenAI's words."""

import asyncio
import hmac
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from duomem_mlx.errors import DuomemError
from duomem_mlx.prompt import Example
from duomem_mlx.student.agent import examples as shown
from duomem_mlx.student.serve.limits import Limits
from duomem_mlx.student.serve.recall import Recall
from duomem_mlx.student.serve.record import Record
from duomem_mlx.student.serve.shapes import ApiError, first_said, gone, read_body
from duomem_mlx.tools.calls import Message

if TYPE_CHECKING:
    from duomem_mlx.memory.bank import Hit

TASK_HEADER = "X-DuoMem-Task"
MEMORIES_HEADER = "X-DuoMem-Memories"
LOCAL_HOSTS = ("127.0.0.1", "localhost", "[::1]")

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Asked:
    """A chat completion that somebody wants."""

    request: Request
    body: dict[str, Any]  # as it was sent
    hits: "Sequence[Hit]"
    finish: Callable[[Message], Coroutine[Any, Any, None]]  # to be told the whole answer

    @property
    def messages(self) -> list[Message]:
        return list(self.body["messages"])

    @property
    def examples(self) -> list[Example]:
        return shown(self.hits)

    @property
    def memories(self) -> list[str]:
        return [hit.memory.id for hit in self.hits]

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        return {MEMORIES_HEADER: ",".join(self.memories)} if self.hits else {}


class Behind(Protocol):
    """Who answers."""

    @property
    def alive(self) -> bool: ...

    async def models(self, request: Request) -> Response: ...

    async def answer(self, asked: Asked) -> Response:
        """Raises ApiError."""

    async def close(self) -> None:
        """End all answers; their clients are told so."""


@dataclass
class Desk:
    """What the routes share."""

    behind: Behind
    limits: Limits
    recall: Recall
    record: Record | None = None
    token: str | None = None  # what clients have to show
    warn: Callable[[str], object] = print  # a line for the person watching
    _reader: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "reader"))  # banks and records

    async def health(self, request: Request) -> Response:
        alive = self.behind.alive
        return JSONResponse({"status": "ok" if alive else "closing"}, 200 if alive else 503)

    async def models(self, request: Request) -> Response:
        self._check(request)
        return await self.behind.models(request)

    async def chat(self, request: Request) -> Response:
        self._check(request)
        body = read_body(await self._body(request))
        messages = body["messages"]
        task = task_of(request)
        try:
            hits = await self._read(self.recall, task, first_said(messages))
        except DuomemError as error:
            self.warn(f"No memories for a request: {error}")
            raise ApiError(500, str(error)) from None
        memories = [hit.memory.id for hit in hits]

        async def finish(answer: Message) -> None:
            if self.record is None:
                return
            try:
                await self._read(self.record.add, messages, answer, memories, body.get("tools") or (), task)
            except DuomemError as error:  # whoever asked gets the answer all the same
                self.warn(f"A conversation was not kept: {error}")

        return await self.behind.answer(Asked(request, body, hits, finish))

    def _check(self, request: Request) -> None:
        if self.token is None:
            return
        scheme, _, shown_token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(shown_token.strip().encode(), self.token.encode()):
            raise ApiError(401, "The token is missing or wrong.", code="invalid_api_key")

    async def _body(self, request: Request) -> bytes:
        most = self.limits.body_bytes
        data = bytearray()
        try:
            async with asyncio.timeout(self.limits.body_s):
                async for piece in request.stream():
                    data += piece
                    if len(data) > most:
                        raise ApiError(413, f"The body is larger than {most} bytes.")
        except TimeoutError:
            raise ApiError(408, f"The body was not there within {self.limits.body_s:g} s.") from None
        except ClientDisconnect:
            raise gone() from None
        return bytes(data)

    async def _read(self, function: Callable[..., _Found], *given: Any) -> _Found:
        return await asyncio.get_running_loop().run_in_executor(self._reader, function, *given)


def make_app(desk: Desk, hosts: Sequence[str] | None = LOCAL_HOSTS) -> Starlette:
    """`hosts`: requests that name another one are refused, such as those of a web page that had its own name point to
    this machine. None: any may be named."""

    return Starlette(
        routes=[
            Route("/health", desk.health),
            Route("/v1/models", desk.models),
            Route("/v1/chat/completions", desk.chat, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts or ["*"])],
        exception_handlers={ApiError: _refuse, HTTPException: _refuse_http},
    )


def task_of(request: Request) -> str | None:
    """What the client says that the task is; None where it does not."""
    said = request.headers.get(TASK_HEADER, "").strip()
    return said.encode("latin-1").decode("utf-8", "replace") or None


async def until_gone(request: Request) -> None:
    """Returns when the client, whose body was read, is no longer there."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def unless_gone(request: Request, work: Coroutine[Any, Any, _Found]) -> _Found:
    """What the work gives. It is cancelled when the client goes, and ApiError is raised."""
    doing, going = asyncio.create_task(work), asyncio.create_task(until_gone(request))
    try:
        await asyncio.wait((doing, going), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise gone()
        return doing.result()
    finally:
        doing.cancel()
        going.cancel()


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return JSONResponse(error.body, error.status, error.headers)


async def _refuse_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path}"
    return await _refuse(request, ApiError(error.status_code, f"{what}: {error.detail}."))
