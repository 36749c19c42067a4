"""Answers from the student in this process."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from duomem_mlx.student.serve.app import Asked, until_gone
from duomem_mlx.student.serve.hearing import Heard
from duomem_mlx.student.serve.shapes import DONE, Form, event, read_offered, read_request
from duomem_mlx.student.serve.worker import Begun, Ended, Event, Failed, Job, Said, Worker
from duomem_mlx.tools.calls import Message, answer_message

Events = asyncio.Queue[Event]


class Local:
    """A worker behind the routes."""

    def __init__(self, worker: Worker, model: str) -> None:
        self._worker = worker
        self._model = model
        self._created = int(time.time())

    @property
    def alive(self) -> bool:
        return self._worker.alive

    async def close(self) -> None:
        await asyncio.to_thread(self._worker.close)

    async def models(self, request: Request) -> Response:
        model = {"id": self._model, "object": "model", "created": self._created, "owned_by": "duomem-mlx"}
        return JSONResponse({"object": "list", "data": [model]})

    async def answer(self, asked: Asked) -> Response:
        wanted = read_request(asked.body)
        offered = await asyncio.to_thread(read_offered, asked.body)  # many schemas take a while to be checked
        heard = Heard(self._worker.prompts.reading, offered)
        events: Events = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def tell(told: Event) -> None:
            loop.call_soon_threadsafe(events.put_nowait, told)

        job = Job(asked.messages, wanted, asked.examples, offered, tell)
        self._worker.submit(job)
        form = Form(self._model, asked.memories)
        try:
            with leaving(asked.request, job):
                await _next(events)  # Begun: from here on an answer is certain to begin
                if not wanted.stream:
                    return await self._whole(asked, form, heard, events)
        except BaseException:
            job.gone = True
            raise
        chunks = self._chunks(asked, form, heard, job, events, wanted.tells_usage)
        return StreamingResponse(chunks, headers=asked.headers, media_type="text/event-stream")

    async def _whole(self, asked: Asked, form: Form, heard: Heard, events: Events) -> Response:
        while not isinstance(told := await _next(events), Ended):
            if isinstance(told, Said):
                heard.add(told.text)
        answer, reason = _answered(heard, told)
        await asked.finish(answer)
        return JSONResponse(form.whole(answer, reason, told.usage), headers=asked.headers)

    async def _chunks(
        self, asked: Asked, form: Form, heard: Heard, job: Job, events: Events, tells_usage: bool
    ) -> AsyncIterator[bytes]:
        try:
            with leaving(asked.request, job):
                yield event(form.chunk("", first=True))
                while not isinstance(told := await events.get(), Ended):
                    if isinstance(told, Failed):
                        yield event(told.error.body)
                        return
                    if isinstance(told, Said) and (text := heard.add(told.text)):
                        yield event(form.chunk(text))
                before = heard.told
                answer, reason = _answered(heard, told)
                if left := heard.told[len(before) :]:
                    yield event(form.chunk(left))
                for chunk in form.calls(answer):
                    yield event(chunk)
                await asked.finish(answer)
                yield event(form.last(reason))
                if tells_usage:
                    yield event(form.usage(told.usage))
                yield DONE
        finally:
            job.gone = True  # no matter to a job that has ended


def _answered(heard: Heard, ended: Ended) -> tuple[Message, str]:
    """The whole answer, and why it ended."""
    calls = heard.end()
    return answer_message(heard.told, calls), "tool_calls" if calls else ended.reason


async def _next(events: Events) -> Begun | Said | Ended:
    """Raises ApiError where there will be no whole answer."""
    told = await events.get()
    if isinstance(told, Failed):
        raise told.error
    return told


@contextmanager
def leaving(request: Request, job: Job) -> Iterator[None]:
    """Within it the job is given up when the client goes."""

    def give_up(watch: "asyncio.Task[Any]") -> None:
        job.gone = job.gone or not watch.cancelled()

    watch = asyncio.create_task(until_gone(request))
    watch.add_done_callback(give_up)
    try:
        yield
    finally:
        watch.cancel()
