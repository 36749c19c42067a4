"""The card of a bundle: what it is, what it is worth and where that was measured, made from the results."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from duomem_mlx import __version__
from duomem_mlx.environment import Origin
from duomem_mlx.evaluation.arms import shows_bank
from duomem_mlx.evaluation.results import interval, table_columns, table_rows
from duomem_mlx.models_on_disk import KNOWN, STUDENT

MEASURED = ("adapter", "duomem")  # arms that say what a bundle is worth


@dataclass(frozen=True)
class About:
    """What a card says beside the results."""

    repo: str  # OWNER/NAME
    base: str  # the base model's id on the Hub
    base_license: str | None  # as the Hub names it; None: not known here
    model: str  # what --model takes for the base
    license: str  # of the bundle, as the Hub names it
    teachers: Sequence[str]  # who taught it, with their licences
    environment: str
    origin: Origin | None  # of its games
    adapter: Mapping[str, Any]  # duomem.json
    config: Mapping[str, Any]  # adapter_config.json
    sizes: Mapping[str, int]  # bytes of the files, by name
    memories: int = 0  # how many
    encoder: str = ""
    results: Mapping[str, Any] = field(default_factory=dict)  # summary.json


def make_card(about: About) -> str:
    """README.md: the Hub's metadata and the text. Raises ValueError where huggingface_hub finds the metadata wrong."""
    from huggingface_hub import ModelCard, ModelCardData

    name = about.repo.partition("/")[2]
    measured = _eval_results(about)
    world = [] if about.origin is None else [about.origin.name.lower()]
    data = ModelCardData(
        base_model=about.base,
        library_name="mlx",
        license=about.license,
        language="en",
        tags=["mlx", "lora", "agent", "duomem-mlx", *world],
        pipeline_tag="text-generation",
        model_name=name if measured else None,
        eval_results=measured or None,
        base_model_relation="adapter",
    )
    sections = [_title(name, about), _use(about), _made_of(about), _results(about), _limits(about)]
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(sections) + "\n"))


def _eval_results(about: About) -> list[Any]:
    from huggingface_hub import EvalResult

    found = []
    for label in MEASURED:
        if figures := about.results.get("arms", {}).get(label):
            low, high = interval(figures)
            found.append(
                EvalResult(
                    task_type="text-generation",
                    task_name="Playing text games, from observations alone",
                    dataset_type=_world(about).lower(),
                    dataset_name=f"{_world(about)} {about.results['split']}, {figures['games']} games",
                    dataset_split=str(about.results["split"]),
                    metric_type="success_rate",
                    metric_name=f"{label}: {figures['won']} of {figures['games']} games won, "
                    f"95% interval {100 * low:.1f} to {100 * high:.1f}%",
                    metric_value=round(figures["success"], 4),
                )
            )
    return found


def _world(about: About) -> str:
    return about.environment if about.origin is None else about.origin.name


def _title(name: str, about: About) -> str:
    memories = f" and {about.memories:,} procedural memories for its prompt" if about.memories else ""
    return (
        f"# {name}\n\nA LoRA adapter for [{about.base}](https://huggingface.co/{about.base}){memories}, for "
        f"playing {_world(about)}'s text games. Made with duomem-mlx {__version__}."
    )


def _use(about: About) -> str:
    model = "" if about.model == STUDENT else f" --model {about.model}"
    memories = f" --memories {about.repo}" if about.memories else ""
    return f"""## How to use it

With duomem-mlx installed:

```
duomem-mlx pull {about.repo}
duomem-mlx run{model} --adapter {about.repo}{memories}
```

The adapter is in mlx-lm's own format: `mlx_lm.load(BASE, adapter_path=FOLDER)` opens the folder that `pull` names. Its
prompts were written in the style `{about.adapter.get("prompt_style", "chat")}`."""


def _made_of(about: About) -> str:
    config, settings = about.config, about.adapter.get("settings", {})
    figures, data = about.adapter.get("figures", {}), about.adapter.get("data", {})
    parameters = config.get("lora_parameters", {})
    weights = about.sizes["adapters.safetensors"] / 1e6
    license_ = f"licence {about.base_license}" if about.base_license else "its own licence applies, see its card"
    lines = [
        f"- **Base**: {about.base} ({license_}).",
        f"- **Adapter**: {config.get('fine_tune_type', 'lora')}, rank {parameters.get('rank')}, "
        f"{config.get('num_layers')} layers, {weights:.1f} MB"
        + (f", {figures['parameters']:,} parameters" if "parameters" in figures else "")
        + f"; licence {about.license}.",
    ]
    if about.memories:
        known = KNOWN.get(about.encoder)
        license_of = f" (licence {known.license})" if known else ""
        size = sum(number for name, number in about.sizes.items() if name.startswith("memories/")) / 1e6
        lines.append(
            f"- **Memories**: {about.memories:,}, {size:.1f} MB, found with the encoder {about.encoder}{license_of}."
        )
    lines.append(f"- **Teacher**: {'; '.join(about.teachers)}.")
    if "trajectories" in data:
        seed = f", seed {settings['seed']}" if "seed" in settings else ""
        held_out = f", {data['held_out']:,} more held out" if data.get("held_out") else ""
        lines.append(f"- **Data**: {data['trajectories']:,} trajectories of games that were won{held_out}{seed}.")
    if (origin := about.origin) is not None:
        made_from = f", which were made from {origin.made_from}" if origin.made_from else ""
        lines.append(f"- **Games**: [{origin.name}]({origin.url})'s ({origin.license} licence){made_from}.")
    return "## What it is made of\n\n" + "\n".join(lines)


def _results(about: About) -> str:
    results = about.results
    if not results:
        return "## Results\n\nNone were published with it."
    columns = table_columns(results)
    table = [columns, ["---"] * len(columns), *table_rows(results)]
    rows = "\n".join(f"| {' | '.join(row)} |" for row in table)
    machine = results.get("machine", {})
    aids = results.get("decoding")
    how = f"decoding {', '.join(f'{k} {v}' for k, v in aids.items())}" if aids else "greedy"
    learning = f" Banks learnt while they were played ({results['learn']})." if results.get("learn") else ""
    memories = f", k = {results['k']} memories" if shows_bank(results["arms"]) else ""
    said = (
        f"{results['games']} games of {_world(about)}'s {results['split']}, at most {results['max_steps']} actions "
        f"each, {how}, from observations alone{memories}, seed {results['seed']}. Intervals are "
        f"Wilson's at 95%; in the mean of steps a game that was not won counts {results['max_steps']}; p is exact "
        f"McNemar's on the same games.{learning} Measured on {machine.get('chip')}, {machine.get('ram_gb')} GB, "
        f"{machine.get('system')}, MLX {machine.get('mlx')} on the {machine.get('device')}, {results.get('dtype')}. "
        f"`results/summary.json` has all figures."
    )
    return f"## Results\n\n{rows}\n\n{said}"


def _limits(about: About) -> str:
    lines = [
        f"- It knows one kind of world, {_world(about)}; elsewhere it was not tried.",
        "- It acts by itself: let it act only where nothing can be broken.",
        "- Memories are text that goes into a prompt; duomem-mlx takes them as text from a stranger.",
    ]
    if about.results:
        seeds = len(about.results.get("adapters", {})) or 1
        count = "one seed" if seeds == 1 else f"{seeds} training seeds, of which this is one"
        lines.insert(0, f"- {about.results['games']} games and {count}: differences within the intervals say nothing.")
    return "## Limits\n\n" + "\n".join(lines)
