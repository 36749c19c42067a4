"""Tokens of the default student as llama.cpp sees them, for tests/student/test_tokenizer.py.

Another reader of the same GGUF: `pip install llama-cpp-python` (builds with a C++ compiler), then
`python scripts/make_golden_tokens.py PATH/SmolLM2-135M-Instruct.Q4_1.gguf`.
"""

import json
import sys
from pathlib import Path

from llama_cpp import Llama

OUT = Path(__file__).parent.parent / "tests" / "student" / "golden" / "smollm2_tokens.json"
TEXTS = [
    "You are in the middle of a room. Looking quickly around you, you see a bed 1, a desk 2, and a drawer 12.\n\n"
    "Your task is to: put two soapbar in garbagecan.\n\n> go to drawer 12\n",
    "On the coffeetable 1, you see a keychain 3, a remotecontrol 2, and a statue 1.\n>",
    " open fridge 1\n",
    " move spraybottle 2 to toilet 1\n",
    "The fridge 1 is closed.",
    "Nothing happens.",
    "examine the alarmclock under the desklamp",
    "x\n\n1",
    "a  1",
    "   42",
    "3) three\n\n\n  4) four",
    "12345.67890",
    "\n",
    "\n\n",
    " \n ",
    "\t\ttabs\t1",
    "they've, we're; it's 'quoted' \"twice\"",
    "été à Zürich — “naïve” … ½ ² ٣",
    "漢字とかな 3つ",
    "🙂🏽 ok",
    "\u00a0\u2003nbsp",
    "<|im_end|> spelt out <|im_start|>",
    "",
]


def main() -> None:
    model = Llama(sys.argv[1], vocab_only=True, verbose=False)
    rows = [[text, model.tokenize(text.encode(), add_bos=False, special=False)] for text in TEXTS]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    OUT.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
