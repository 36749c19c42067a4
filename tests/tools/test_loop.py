"""The whole way of an agent's run: recorded, imported with the user's verdict, distilled, served, called again."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import openai
import pytest

from duomem_mlx.cli.main import app, status
from duomem_mlx.trajectory import read_trajectories
from tests.cli.test_serve import ROOT, started, stopped
from tests.student.serve.test_tools import saying
from tests.tools.weather import TASK, agent, module, printed, teacher
from tests.training import made

TOOLS = "duomem_mlx.tools.world:ToolRuns"


def duomem(*words: object) -> None:
    assert status(lambda: app([str(word) for word in words])) == 0


def url_in(said: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+/v1", said)
    assert found is not None
    return found[0]


def test_a_tiny_students_whole_way(tmp_path: Path, encoder_weights: Path, capfd: pytest.CaptureFixture[str]) -> None:
    weather = module(tmp_path).weather
    with teacher() as far, started("--upstream", far.url, "--record", "kept") as (_, said):
        playing = agent(tmp_path, url_in(said))
        for city, code in (("Oslo", "NO-3"), ("Rome", "IT-8")):
            assert playing.run(TASK.format(city)) == weather(code)
    kept = list(Path("kept").iterdir())
    assert len(kept) == 2
    base = made.save_base(tmp_path / "base")
    words = ("--k", 1, "--model", base)
    duomem("trajectories", "import", *kept, "--env", TOOLS, "--won", "all", "--out", "runs")
    duomem("memories", "build", "runs", "--env", TOOLS, "--out", "bank")
    length = ("--iters", 2, "--rank", 2, "--max-seq-length", 4096)
    duomem("train", "runs", "--env", TOOLS, "--memories", "bank", "--out", "adapter", *words, *length)
    runs = list(read_trajectories(Path("runs")))
    assert [len(run.steps) for run in runs] == [3, 3]
    assert json.loads(runs[0].actions[1])["name"] == "weather"
    assert "Calling tools:" in runs[0].steps[0].sent[0]["content"]
    record = json.loads(Path("adapter/duomem.json").read_text())
    assert record["prompt_style"] == "chat"
    err = capfd.readouterr().err
    assert f"duomem-mlx train runs --env {TOOLS}" in err
    assert "duomem-mlx serve --adapter adapter" in err
    served = ("--adapter", "adapter", "--memories", "bank", *map(str, words), "--max-tokens", "8")
    with started(*served) as (_, said):
        request = runs[0].request
        assert request is not None
        answer = openai.OpenAI(base_url=url_in(said), api_key="none", max_retries=0).chat.completions.create(
            model="any", messages=request["messages"], tools=request["tools"], tool_choice="required"
        )
        message = answer.choices[0].message
        assert message.tool_calls is None  # it knows nothing yet, and a broken call is none
        assert message.content.startswith('{"name": "')
        assert len(answer.duomem["memories"]) == 1


@pytest.mark.slow
def test_the_page_of_tool_calling_is_followed_word_for_word(student_weights: Path, encoder_weights: Path) -> None:
    """In an empty folder, with the default student. Only the ports and the teacher's address are others."""
    commands, code = printed()
    install, record, ask, *distil, serve, ask_again = commands
    assert install.startswith("pip install smolagents ")
    assert [line.split()[1] for line in (record, *distil, serve)] == [
        *("serve", "trajectories", "memories", "train", "serve")
    ]
    Path("agent.py").write_text(code, encoding="utf-8")
    with teacher() as far:
        words = [word.replace("https://your-teacher/v1", far.url) for word in shlex.split(record)]
        assert far.url in words
        with started(*words[2:], TEACHER_KEY="secret") as (running, said):
            taught = asked(ask, url_in(said))
            stopped(running)
        assert all(headers["authorization"] == "Bearer secret" for headers in far.headers_seen)
    assert len(taught) == 12
    for line in distil:
        followed(line)
    with started(*shlex.split(serve)[2:]) as (running, said):
        found = asked(ask_again, url_in(said))
        run = next(iter(read_trajectories(Path("runs"))))
        assert run.request is not None
        official = calls_of_the_official_client(url_in(said), run.request)
        stopped(running)
    # Nobody was taught on these cities. Each run came to its answer by calls that the framework could make; whether the
    # right code is copied takes more passes than a test has time for, and the page says so.
    assert len(found) == 3
    assert list(official[1]) == {"find_code": ["city"], "weather": ["code"], "final_answer": ["answer"]}[official[0]]


def followed(line: str) -> str:
    """What a line of the page prints, in a shell, with this Python."""
    name, _, rest = line.partition(" ")
    program = {"duomem-mlx": f"{shlex.quote(sys.executable)} -m duomem_mlx", "python": shlex.quote(sys.executable)}
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(f"{program[name]} {rest}", shell=True, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def asked(line: str, url: str) -> list[str]:
    """What the page's agent answered, asked at `url`."""
    assert "http://127.0.0.1:8135/v1" in line
    said = followed(line.replace("http://127.0.0.1:8135/v1", url)).splitlines()
    return [answer for answer in said if answer in ("rain", "snow", "sun", "fog")]


def calls_of_the_official_client(url: str, request: Any) -> tuple[str, Any]:
    """The one call that OpenAI's own client gets, whole and in a stream alike."""
    client: Any = openai.OpenAI(base_url=url, api_key="none", max_retries=0)
    messages = [*request["messages"][:-1], {"role": "user", "content": f"New task:\n{TASK.format('Madrid')}"}]
    message = client.chat.completions.create(model="any", messages=messages, tools=request["tools"]).choices[0].message
    (call,) = message.tool_calls
    stream = client.chat.completions.create(model="any", messages=messages, tools=request["tools"], stream=True)
    deltas = [c.choices[0].delta.tool_calls[0] for c in stream if c.choices and c.choices[0].delta.tool_calls]
    assert "".join(d.function.arguments for d in deltas) == call.function.arguments
    return call.function.name, json.loads(call.function.arguments)


@pytest.mark.parametrize("stream", [False, True])
def test_a_framework_takes_the_calls_whole_and_in_a_stream(stream: bool, tmp_path: Path) -> None:
    with saying('{"name": "final_answer", "arguments": {"answer": "rain"}}') as (url, feeder, tokenizer):
        playing = agent(tmp_path, url)
        playing.stream_outputs = stream
        assert playing.run(TASK.format("Oslo")) == "rain"
        assert '<|im_start|>assistant\n{"name": "final' in tokenizer.decode(feeder.asked[-1])
