"""The tokenizer of SmolLM2 in the Hub's files, built from what a GGUF says of it.

`tokenizer.json` comes out byte for byte as the Hub holds it (its SHA-256 is pinned in `models_on_disk`), and so does
`tokenizer_config.json` but for the class: transformers 5 takes "GPT2Tokenizer" for GPT-2's own and splits text
without looking into tokenizer.json, so that "x\\n\\n1" gives other tokens than the model was trained on.
"""

import json
from collections.abc import Sequence
from typing import Any

HUB_CLASS = "GPT2Tokenizer"
CLASS = "PreTrainedTokenizerFast"


def tokenizer_json(tokens: Sequence[str], merges: Sequence[str], control: Sequence[int]) -> str:
    """`tokenizer.json`: `tokens` by id, `merges` best first ("a b"), `control` the ids of control tokens."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return _text(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [
                {
                    "id": token,
                    "content": tokens[token],
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                    "special": True,
                }
                for token in control
            ],
            "normalizer": None,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
            },
            "post_processor": None,
            "decoder": {**byte_level, "add_prefix_space": True},
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": {token: number for number, token in enumerate(tokens)},
                "merges": list(merges),
            },
        }
    )


def tokenizer_config_json(
    tokens: Sequence[str],
    control: Sequence[int],
    template: str,
    context: int,
    bos: int,
    eos: int,
    pad: int,
    unknown: int,
    tokenizer_class: str = CLASS,
) -> str:
    """`tokenizer_config.json`: the chat template, the context's length in tokens, ids of what begins and ends."""
    return (
        _text(
            {
                "add_prefix_space": False,
                "added_tokens_decoder": {
                    str(token): {
                        "content": tokens[token],
                        "lstrip": False,
                        "normalized": False,
                        "rstrip": False,
                        "single_word": False,
                        "special": True,
                    }
                    for token in control
                },
                "additional_special_tokens": [tokens[bos], tokens[eos]],
                "bos_token": tokens[bos],
                "chat_template": template,
                "clean_up_tokenization_spaces": False,
                "eos_token": tokens[eos],
                "model_max_length": context,
                "pad_token": tokens[pad],
                "tokenizer_class": tokenizer_class,
                "unk_token": tokens[unknown],
                "vocab_size": len(tokens),
            }
        )
        + "\n"
    )


def _text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
