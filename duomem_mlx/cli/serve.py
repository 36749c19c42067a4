"""`duomem-mlx serve`: an endpoint of OpenAI's kind, with memories in every prompt."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from duomem_mlx.cli import options, output, wiring

if TYPE_CHECKING:
    from duomem_mlx.environment import Environment
    from duomem_mlx.student.serve.app import Behind
    from duomem_mlx.student.serve.limits import Limits

Host = Annotated[
    str, typer.Option("--host", metavar="NAME", help="Where to listen; 127.0.0.1 is reached from this machine alone.")
]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, metavar="N", help="0 takes a free one.")]
Token = Annotated[
    str | None,
    typer.Option("--token-env", metavar="NAME", help="The environment variable with the token clients must show."),
]
Far = Annotated[
    str | None,
    typer.Option(
        "--upstream",
        metavar="URL",
        help="Put memories in front of this server, as far as before /chat/completions; no weights are loaded.",
    ),
]
FarKey = Annotated[
    str | None,
    typer.Option("--api-key-env", metavar="NAME", help="upstream: the environment variable that holds its key."),
]
Keep = Annotated[
    Path | None,
    typer.Option("--record", metavar="DIR", help="Keep conversations, for `trajectories import`."),
]
AnswerTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        min=1,
        metavar="N",
        help="Tokens an answer where a request does not say [default: 32 compact, 1024 chat].",
    ),
]
Context = Annotated[
    int | None,
    typer.Option("--context", min=16, metavar="N", help="Tokens a conversation [default: the model's, at most 8192]."),
]
Parallel = Annotated[
    int | None,
    typer.Option("--parallel", min=1, metavar="N", help="Answers computed together [default: what fits, at most 16]."),
]
Body = Annotated[int, typer.Option("--max-body", min=1, metavar="KB", help="The largest request taken.")]

OF_THE_STUDENT = ("model", "adapter", "prompt_style", "max_tokens", "context", "parallel", "ram")
DEFAULT_PORT = 8135
NO_NAME = "MODEL"


def serve(
    ctx: typer.Context,
    model: options.Model = None,
    adapter: options.Adapter = None,
    memories: options.Memories = None,
    k: options.K = None,
    env: options.Env = options.WORLD,
    prompt_style: options.PromptStyle = None,
    upstream: Far = None,
    api_key_env: FarKey = None,
    record: Keep = None,
    host: Host = "127.0.0.1",
    port: Port = DEFAULT_PORT,
    token_env: Token = None,
    max_tokens: AnswerTokens = None,
    context: Context = None,
    parallel: Parallel = None,
    ram: options.Ram = None,
    max_body: Body = 4096,
) -> None:
    """Serve the student with adapter and memories to any client of OpenAI's kind, until Ctrl-C.

    Memories are looked up once a conversation, by the first message of its user or the header X-DuoMem-Task; their ids
    come with the answer. With --upstream another server answers.
    """
    from dataclasses import replace

    from duomem_mlx.errors import UsageError
    from duomem_mlx.models_on_disk import STUDENT
    from duomem_mlx.student.adapters import usual_k
    from duomem_mlx.student.serve.app import Desk
    from duomem_mlx.student.serve.limits import Limits
    from duomem_mlx.student.serve.recall import Recall
    from duomem_mlx.student.serve.record import Record
    from duomem_mlx.student.serve.running import Server, is_local, listen
    from duomem_mlx.teachers.remote import key_from

    token = key_from(token_env, "--token-env")
    if upstream and (given := options.given(ctx, *OF_THE_STUDENT)):
        raise UsageError(f"With --upstream no student is loaded that knows {', '.join(given)}.", "Leave that out.")
    if api_key_env and not upstream:
        raise UsageError("--api-key-env is for --upstream.", "Leave it out, or name the server with --upstream.")
    environment = wiring.open_environment(env, None, "fast")
    sock = listen(host, port)
    folder = None if upstream else wiring.adapter_path(adapter, model, environment)
    name = NO_NAME if upstream else model or STUDENT if folder is None else folder.name
    kept = None if record is None else Record(record, upstream or name)
    k = usual_k(folder) if k is None else k
    bank = wiring.open_bank(memories, environment, model) if k else None
    behind: Behind
    limits: Limits
    if upstream:
        behind, limits = _far(upstream, api_key_env, token is None), Limits()
    else:
        behind, limits = _near(name, environment, model, folder, prompt_style, max_tokens, context, parallel, ram)
    desk = Desk(
        behind, replace(limits, body_bytes=max_body << 10), Recall(bank, k), kept, token, lambda line: output.say(line)
    )
    if not is_local(host) and token is None:
        output.say(f"Careful: whoever reaches {host} may ask; --token-env makes clients show a token.")
    _greet(sock.getsockname(), name, token_env)
    Server(desk, host).serve_on(sock)


def _far(url: str, key_variable: str | None, passes_keys: bool) -> "Behind":
    from duomem_mlx.student.serve.upstream import Upstream
    from duomem_mlx.teachers.remote import check_address, key_from

    check_address(url, "--upstream")
    return Upstream(url, key_from(key_variable), passes_keys)


def _near(
    name: str,
    environment: "Environment",
    model: str | None,
    adapter: Path | None,
    style: str | None,
    max_tokens: int | None,
    context: int | None,
    parallel: int | None,
    ram: str | None,
) -> "tuple[Behind, Limits]":
    """The student, loaded, and what it may use."""
    from duomem_mlx import prompt
    from duomem_mlx.offers import shorten_of
    from duomem_mlx.student.cpu import give_back_freed_memory
    from duomem_mlx.student.episodes import ANSWER_TOKENS
    from duomem_mlx.student.feeding import make_feeder, token_bytes
    from duomem_mlx.student.machine import size_in_bytes
    from duomem_mlx.student.models import load_student
    from duomem_mlx.student.serve.limits import Limits, limits_for
    from duomem_mlx.student.serve.local import Local
    from duomem_mlx.student.serve.prompts import make_prompts
    from duomem_mlx.student.serve.worker import Worker

    budget = None if ram is None else size_in_bytes(ram)
    student = load_student(model, adapter=adapter)
    for warning in student.warnings:
        output.say(warning)
    style = style or str(student.adapter_record.get("prompt_style", prompt.CHAT))
    prompts = make_prompts(student.tokenizer, style, shorten_of(environment))
    if style == prompt.COMPACT:
        output.say("Prompts are compact-1: first the opening of a game, then actions and what comes of them.")
    give_back_freed_memory()
    feeder = make_feeder(student.model)
    answer_tokens = max_tokens or (ANSWER_TOKENS[style] if style == prompt.COMPACT else Limits().answer_tokens)
    limits = limits_for(student, token_bytes(feeder), answer_tokens, parallel, context, budget)
    output.say(
        f"{limits.parallel} answers together, {limits.context_tokens} tokens a conversation; the last {limits.kept} "
        f"are kept to go on from, in {limits.kept_bytes / 2**30:.1f} GB at most. All together it may come to "
        f"{(limits.most_bytes or 0) / 2**30:.1f} GB; --ram sets another bound."
    )
    return Local(Worker(student.tokenizer, prompts, feeder, limits), name), limits


def _greet(address: tuple[str, int], name: str, token_env: str | None) -> None:
    """What to paste into a client."""
    host = f"[{address[0]}]" if ":" in address[0] else address[0]
    url = f"http://{host}:{address[1]}/v1"
    key = f'os.environ["{token_env}"]' if token_env else '"none"'
    output.line(f"Base URL  {url}")
    output.line(f"Model     {name}")
    output.line(f"API key   {f'what is in ${token_env}' if token_env else 'any'}")
    output.line("")
    output.line("import os, openai" if token_env else "import openai")
    output.line(f'client = openai.OpenAI(base_url="{url}", api_key={key})')
    output.line(
        f'answer = client.chat.completions.create(model="{name}", messages=[{{"role": "user", "content": "…"}}])'
    )
    output.line("print(answer.choices[0].message.content)")
    if name == NO_NAME:
        output.say(f"{NO_NAME} stands for what the other server calls its model.")
    output.say("Ctrl-C stops it.")
