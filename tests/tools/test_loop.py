"""The whole way of an agent's run: recorded, imported with the user's verdict, distilled, served, called again."""

import json
import re
from pathlib import Path
from typing import Any

import openai
import pytest

from duomem_mlx.cli.main import app, status
from duomem_mlx.trajectory import read_trajectories
from tests.cli.test_serve import started
from tests.student.serve.test_tools import saying
from tests.tools.weather import CODES, MORE, NEW, TASK, agent, sky, teacher
from tests.training import made

pytestmark = pytest.mark.filterwarnings("ignore:Function .* has decorators")  # tools that are made in a function

TOOLS = "duomem_mlx.tools.world:ToolRuns"


def duomem(*words: object) -> None:
    assert status(lambda: app([str(word) for word in words])) == 0


def url_in(said: str) -> str:
    found = re.search(r"http://127\.0\.0\.1:\d+/v1", said)
    assert found is not None
    return found[0]


def recorded(folder: Path, cities: dict[str, str]) -> None:
    """The framework's runs with the user's own teacher, recorded on the way."""
    with teacher() as far, started("--upstream", far.url, "--record", str(folder)) as (_, said):
        playing = agent(url_in(said), "big")
        for city, code in cities.items():
            assert playing.run(TASK.format(city)) == sky(code)


def distilled(kept: Path, out: Path, model: Path | None, *settings: object) -> list[str]:
    """The words that serve an adapter and a bank made of what was kept."""
    named = ["--model", model] if model else []
    files = sorted(kept.glob("*.jsonl"))
    duomem("trajectories", "import", *files, "--env", TOOLS, "--won", "all", "--out", out / "runs")
    duomem("memories", "build", out / "runs", "--env", TOOLS, "--out", out / "bank")
    words = ["--env", TOOLS, "--memories", out / "bank", "--out", out / "adapter", "--k", 1, *named]
    duomem("train", out / "runs", *words, *settings)
    return [str(word) for word in ("--adapter", out / "adapter", "--memories", out / "bank", "--k", 1, *named)]


def test_a_tiny_students_whole_way(tmp_path: Path, encoder_weights: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recorded(tmp_path / "kept", dict(list(CODES.items())[:2]))
    assert len(list((tmp_path / "kept").iterdir())) == 2
    base = made.save_base(tmp_path / "base")
    words = distilled(tmp_path / "kept", tmp_path, base, "--iters", 2, "--rank", 2, "--max-seq-length", 4096)
    runs = list(read_trajectories(tmp_path / "runs"))
    assert [len(run.steps) for run in runs] == [3, 3]
    assert json.loads(runs[0].actions[1])["name"] == "weather"
    assert "Calling tools:" in runs[0].steps[0].sent[0]["content"]
    record = json.loads((tmp_path / "adapter" / "duomem.json").read_text())
    assert record["prompt_style"] == "chat"
    assert "duomem-mlx serve --adapter" in capfd.readouterr().err
    with started(*words, "--max-tokens", "8") as (_, said):
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
def test_the_default_student_learns_the_calls_of_a_framework(
    tmp_path: Path, student_weights: Path, encoder_weights: Path
) -> None:
    recorded(tmp_path / "kept", {**CODES, **MORE})
    settings = ("--iters", 27, "--batch-size", 4, "--held-out", 0.1)
    words = distilled(tmp_path / "kept", tmp_path, None, *settings)
    with started(*words) as (_, said):
        playing = agent(url_in(said))
        assert {city: playing.run(TASK.format(city)) for city in NEW} == {c: sky(code) for c, code in NEW.items()}
        # OpenAI's own client, whole and in a stream.
        run = next(iter(read_trajectories(tmp_path / "runs")))
        assert run.request is not None
        client = openai.OpenAI(base_url=url_in(said), api_key="none", max_retries=0)
        told: Any = run.request
        messages = [*told["messages"][:-1], {"role": "user", "content": f"New task:\n{TASK.format('Madrid')}"}]
        message = client.chat.completions.create(model="any", messages=messages, tools=told["tools"]).choices[0].message
        (call,) = message.tool_calls
        assert (call.function.name, json.loads(call.function.arguments)) == ("find_code", {"city": "Madrid"})
        stream = client.chat.completions.create(model="any", messages=messages, tools=told["tools"], stream=True)
        deltas = [c.choices[0].delta.tool_calls[0] for c in stream if c.choices and c.choices[0].delta.tool_calls]
        assert "".join(d.function.arguments for d in deltas) == call.function.arguments


@pytest.mark.parametrize("stream", [False, True])
def test_a_framework_takes_the_calls_whole_and_in_a_stream(stream: bool) -> None:
    with saying('{"name": "final_answer", "arguments": {"answer": "rain"}}') as (url, feeder, tokenizer):
        playing = agent(url)
        playing.stream_outputs = stream
        assert playing.run(TASK.format("Oslo")) == "rain"
        assert '<|im_start|>assistant\n{"name": "final' in tokenizer.decode(feeder.asked[-1])
