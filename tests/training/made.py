"""Hand-made trajectories, and tiny random models of several families."""

import json
from pathlib import Path
from typing import Any

from duomem_mlx.trajectory import Step, Trajectory

COMMON = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-5,
    "vocab_size": 258,
    "max_position_embeddings": 4096,
    "rope_theta": 10000.0,
}
GROUP = 32  # weights that share a scale where a model is quantized
GEMMA4 = {
    "head_dim": 8,
    "global_head_dim": 16,
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 2,
    "sliding_window": 16,
    "sliding_window_pattern": 2,
    "hidden_size_per_layer_input": 64,
    "vocab_size_per_layer_input": 258,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama tied": {"model_type": "llama", "tie_word_embeddings": True},
    "llama untied": {"model_type": "llama", "tie_word_embeddings": False},
    "qwen2": {"model_type": "qwen2", "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", "tie_word_embeddings": False, "head_dim": 8},
    "gemma3": {
        "model_type": "gemma3_text",
        "head_dim": 8,
        "query_pre_attn_scalar": 8,
        "sliding_window": 16,
        "sliding_window_pattern": 2,
    },
    "gemma4": {"model_type": "gemma4_text", **GEMMA4},
    "gemma4 (as the Hub holds it)": {"model_type": "gemma4", "text_config": {**COMMON, **GEMMA4}},
    "phi3": {"model_type": "phi3"},
    "smollm3": {"model_type": "smollm3", "no_rope_layer_interval": 2, "tie_word_embeddings": True},
    "gemma2 (soft caps)": {"model_type": "gemma2", "head_dim": 8, "query_pre_attn_scalar": 8},
    "granite (scaled)": {
        "model_type": "granite",
        "logits_scaling": 3.0,
        "attention_multiplier": 0.3,
        "embedding_multiplier": 2.0,
        "residual_multiplier": 0.5,
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
    },
}

OTHER_CACHES: dict[str, dict[str, Any]] = {  # that cannot be gone back in
    "qwen3_next (hybrid)": {
        "model_type": "qwen3_next",
        "head_dim": 8,
        "linear_num_value_heads": 4,
        "linear_num_key_heads": 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_conv_kernel_dim": 4,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "decoder_sparse_step": 1,
        "shared_expert_intermediate_size": 32,
        "mlp_only_layers": [],
        "moe_intermediate_size": 32,
        "partial_rotary_factor": 0.5,
        "full_attention_interval": 2,
    },
    "lfm2 (convolutional)": {
        "model_type": "lfm2",
        "norm_eps": 1e-5,
        "conv_bias": False,
        "conv_L_cache": 3,
        "block_dim": 32,
        "block_multiple_of": 32,
        "block_ffn_dim_multiplier": 1.0,
        "block_auto_adjust_ff_dim": False,
        "full_attn_idxs": [1],
    },
}


def model(family: str = "llama tied", seed: int = 0, blocks: int | None = None) -> Any:
    """Random weights, larger than the usual ones so that contexts matter."""
    import mlx.core as mx
    from mlx.utils import tree_map
    from mlx_lm.utils import _get_classes

    config = {
        **COMMON,
        **(FAMILIES | OTHER_CACHES)[family],
        **({} if blocks is None else {"num_hidden_layers": blocks}),
    }
    model_class, args_class = _get_classes(config)
    mx.random.seed(seed)
    made = model_class(args_class.from_dict(config))
    made.update(tree_map(lambda p: mx.random.normal(p.shape) * 0.2 if p.ndim > 1 else p, made.parameters()))
    mx.eval(made.parameters())
    return made


def trajectory(number: int, turns: int = 3, won: bool = True, refused: tuple[int, ...] = ()) -> Trajectory:
    steps = tuple(
        Step(
            f"go to shelf {number + turn}",
            "Nothing happens."
            if turn in refused
            else f"On shelf {number + turn}: a cup, {'a pot, ' * (turn % 3)}a pan.",
            thought=f"It may be on shelf {turn}." if turn % 2 else None,
        )
        for turn in range(turns)
    )
    return Trajectory(
        environment="shelves",
        game=f"room{number % 5}/game{number}",
        split="train",
        kind="find",
        task=f"find cup {number}",
        opening=f"You are in room {number}. Your task is to: find cup {number}.",
        steps=steps,
        won=won,
        score=float(won),
        end="won" if won else "steps",
        teacher={"kind": "made"},
        seconds=0.1,
        created="2026-01-01T00:00:00+00:00",
    )


def refused(observation: str) -> bool:
    return observation == "Nothing happens."


class Shelves:
    """The world the trajectories are of; nobody plays in it here."""

    name = "shelves"
    instructions = "Answer with one line: Action: go to shelf N."

    def tasks(self, split: str) -> list[str]:
        return []

    def open(self, task_id: str) -> Any:
        raise NotImplementedError

    def refused(self, observation: str) -> bool:
        return refused(observation)

    def place(self, task_id: str) -> str:
        return task_id.split("/")[0]


def quantized(made: Any, bits: int | None) -> Any:
    """The model with its linear layers and embeddings in `bits`, scales in float32; as it is for None."""
    if bits:
        from mlx import nn

        nn.quantize(made, GROUP, bits)
    return made


def save_base(folder: Path, family: str = "llama tied", bits: int | None = None) -> Path:
    """A folder that plain mlx_lm.load opens."""
    import mlx.core as mx
    from mlx.utils import tree_flatten

    from tests.student import tiny

    folder.mkdir()
    weights = dict(tree_flatten(quantized(model(family), bits).parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "mlx"})
    packed = {"quantization": {"group_size": GROUP, "bits": bits}} if bits else {}
    (folder / "config.json").write_text(json.dumps({**COMMON, **FAMILIES[family], **packed}))
    tiny.tokenizer()._tokenizer.save_pretrained(folder)
    return folder
