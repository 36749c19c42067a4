"""Text from a world, a memory or a task, as tokens that stay text whatever is spelt out in it."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any


def plain(tokenizer: Any, text: str) -> list[int]:
    """Tokens of untrusted text, none of them a control token of the model's.

    Most tokenizers spell special tokens out when told to, but not those that are merely added, such as Qwen's
    `</think>`; a text that would give one is cut in halves until it does not.
    """
    tokens = list(tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))
    if len(text) < 2 or control_tokens(tokenizer).isdisjoint(tokens):
        return tokens
    middle = len(text) // 2
    return plain(tokenizer, text[:middle]) + plain(tokenizer, text[middle:])


@lru_cache(maxsize=4)
def control_tokens(tokenizer: Any) -> frozenset[int]:
    """Ids of what is special or added; runs of spaces and line breaks, which some vocabularies add too, are text."""
    added = {token for text, token in tokenizer.get_added_vocab().items() if text.strip()}
    return frozenset((added | set(tokenizer.all_special_ids)) - {tokenizer.unk_token_id})


def markers_of(tokenizer: Any, pieces: Iterable[str]) -> tuple[str, ...]:
    """What marks a turn in these pieces of a chat template and is ordinary text to the tokenizer, such as `[/INST]` or
    `USER:`. A role's bare name beside a control token is none: the control token guards it."""
    controls = control_tokens(tokenizer)
    spelt = [text for text, token in tokenizer.get_vocab().items() if token in controls]
    between = re.compile("|".join(map(re.escape, sorted(spelt, key=len, reverse=True))) or r"(?!)")
    found = {line.strip() for piece in pieces for text in between.split(piece) for line in text.splitlines()}
    return tuple(sorted(text for text in found if len(text) > 1 and not re.fullmatch(r"[\w\s]*", text)))


def unmarked(text: str, markers: Sequence[str]) -> str:
    """The text with a space in every marker, so that it marks nothing."""
    for marker in markers:
        while marker in text:
            text = text.replace(marker, f"{marker[0]} {marker[1:]}")
    return text
