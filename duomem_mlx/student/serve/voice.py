"""Tokens one by one as text, up to where it is to stop."""

from collections.abc import Sequence
from typing import Any


class Voice:
    """The text of one answer, as the tokenizer decodes it but for `lead`, where it begins with that. What may be the
    beginning of a stop text is held back until that is decided."""

    def __init__(self, tokenizer: Any, stop_texts: Sequence[str], lead: str = "") -> None:
        from mlx_lm.generate import TextStateMachine

        self._machine = TextStateMachine({"": [(text, None) for text in stop_texts]})
        self._state = self._machine.make_state("")
        self._tokenizer = tokenizer
        self._detokenizer = tokenizer.detokenizer
        self._lead = lead
        self._begun = False
        self.stopped = False  # a stop text was said; nothing that follows counts

    def add(self, token: int) -> str:
        """What can be told after one token more."""
        self._detokenizer.add_token(token)
        return self._let_out()

    def end(self) -> str:
        """What is left when no token follows."""
        self._detokenizer.finalize()
        text = self._let_out()
        if not self.stopped:
            self._state, left, _ = self._machine.flush(self._state)
            text += left
        return text

    def _let_out(self) -> str:
        if self.stopped:
            return ""
        self._state, pieces = self._machine.split(self._state, self._heard())
        self.stopped = self._state[0] is None
        return "".join(text for _, text in pieces)

    def _heard(self) -> str:
        text = str(self._detokenizer.last_segment)
        if text and not self._begun:
            self._begun = True
            if self._tokenizer.decode(self._detokenizer.tokens) == f" {text}":  # mlx-lm drops the first space of some
                text = f" {text}"
            text = text.removeprefix(self._lead)
        return text
