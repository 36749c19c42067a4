"""Options that mean the same in every command."""

from pathlib import Path
from typing import Annotated, Any

import typer

from duomem_mlx.environment import DEFAULT

WORLD = DEFAULT  # that is played unless --env names another


def _games(usual: str) -> Any:
    return typer.Option(
        "--games",
        metavar="SPEC",
        help="A split of the world; in the household (train, valid_seen, valid_unseen) also a folder, a game file, "
        f"generated:SEED[:COUNT] or embedded [default: {usual}].",
    )


TaughtGames = Annotated[str | None, _games("the first split, train")]
MeasuredGames = Annotated[str | None, _games("the second split; in the household valid_seen")]
FirstGames = Annotated[str | None, _games("some at hand; in the household embedded")]
ManyGames = Annotated[str | None, _games("some at hand; in the household generated ones")]
GamesDir = Annotated[
    Path | None,
    typer.Option(
        "--games-dir",
        metavar="DIR",
        help="ALFWorld's data folder [default: $ALFWORLD_DATA, else ~/.cache/alfworld].",
    ),
]
Engine = Annotated[str, typer.Option("--engine", metavar="fast|textworld", help="What plays the household's games.")]
Env = Annotated[
    str, typer.Option("--env", metavar="SPEC", help="The world: a name of `envs list`, or package.module:factory.")
]
SideEffects = Annotated[
    bool,
    typer.Option("--allow-side-effects", help="Play a world that says that playing changes what is outside of it."),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="The first N games; any prefix is a fair sample."),
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="ID",
        help="A Hub id, a folder, or a name that doctor lists [default: the shipped student].",
    ),
]
Adapter = Annotated[
    str | None,
    typer.Option(
        "--adapter",
        "--adapter-path",
        metavar="ID",
        help="A name under adapters/, a folder, what was pulled, or none [default: the one shipped for the world].",
    ),
]
Memories = Annotated[
    str | None,
    typer.Option(
        "--memories",
        metavar="ID",
        help="A name under memories/, a folder, what was pulled, or none [default: the bank shipped for the world].",
    ),
]
K = Annotated[
    int | None,
    typer.Option(
        "--k", "-k", min=0, metavar="N", help="Memories in the prompt [default: the adapter's own number, else 4]."
    ),
]
MaxSteps = Annotated[
    int | None, typer.Option("--max-steps", min=1, metavar="N", help="Actions a game [default: the world's, else 30].")
]
Seed = Annotated[int, typer.Option("--seed", min=0, metavar="N", help="All randomness.")]
Out = Annotated[
    Path | None, typer.Option("--out", metavar="PATH", help="Where it writes [default: runs/COMMAND-hash].")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what another run left in --out.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, progress on standard error.")]
PromptStyle = Annotated[
    str | None,
    typer.Option(
        "--prompt-style",
        metavar="chat|compact-1",
        help="How prompts are written [default: the adapter's own, else the model's usual one].",
    ),
]
GameNumber = Annotated[
    int, typer.Option("--number", "-n", min=1, metavar="N", help="Which game of --games, in the order of play.")
]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        min=1,
        metavar="N",
        help="Tokens an answer; a longer one is cut [default: 32 compact, 128 chat].",
    ),
]
Temp = Annotated[
    float, typer.Option("--temp", metavar="T", help="Temperature of sampling; 0 takes the most likely token.")
]
TopP = Annotated[
    float, typer.Option("--top-p", metavar="P", help="Sample from the most likely tokens that hold this share.")
]
AvoidRefused = Annotated[
    bool, typer.Option("--avoid-refused", help="Aid: an action just refused is not tried again unchanged.")
]
Actions = Annotated[
    str,
    typer.Option(
        "--actions",
        metavar="free|grammar|admissible",
        help="Aid: only commands over names seen so far, or (a privilege) those that the world would accept.",
    ),
]
Ram = Annotated[
    str | None,
    typer.Option("--ram", metavar="SIZE", help="A budget such as 8GB [default: what the machine has to give]."),
]
Learn = Annotated[
    str | None,
    typer.Option(
        "--learn",
        metavar="vanilla|validation|adjustment",
        help="Let the bank learn: keep every game, those won, or also rewrite the memory that failed.",
    ),
]
BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", metavar="URL", help="remote: the endpoint, as far as before /chat/completions."),
]
KeyVariable = Annotated[
    str | None,
    typer.Option("--api-key-env", metavar="NAME", help="remote: the environment variable that holds the key."),
]
PriceIn = Annotated[
    float, typer.Option("--price-in", min=0, metavar="MONEY", help="remote: price of a million tokens read.")
]
PriceOut = Annotated[
    float, typer.Option("--price-out", min=0, metavar="MONEY", help="remote: price of a million tokens written.")
]
MaxCost = Annotated[
    float | None, typer.Option("--max-cost", min=0, metavar="MONEY", help="remote: stop when this is spent.")
]


# What `run` and `evaluate` tell each other of; neither the games nor k, which are not the same in both.
OF_A_GAME = (
    "games_dir",
    "engine",
    "env",
    "model",
    "adapter",
    "memories",
    "max_steps",
    "prompt_style",
    "max_tokens",
    "temp",
    "top_p",
    "avoid_refused",
    "actions",
)


def given(context: typer.Context, *names: str) -> dict[str, Any]:
    """Option -> value, of those parameters that the call itself names."""
    sources = {name: context.get_parameter_source(name) for name in names}
    return {
        parameter.opts[0]: context.params[parameter.name]
        for parameter in context.command.params
        if parameter.name and (source := sources.get(parameter.name)) is not None and source.name == "COMMANDLINE"
    }
