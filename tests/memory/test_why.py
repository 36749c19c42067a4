from pathlib import Path

import numpy as np
import pytest

from duomem_mlx.memory.bank import Bank
from duomem_mlx.memory.why import matched, reasons

from .hashing import HashingEncoder, memory


def test_words_in_common_whatever_their_case_in_the_questions_order() -> None:
    assert matched("Put a mug, in a Fridge", "heat some cup: PUT it in fridge 1") == ("Put", "in", "Fridge")
    assert matched("", "put") == matched("put", "") == ()


def test_the_weight_of_a_word_is_what_the_cosine_loses_without_it(tmp_path: Path) -> None:
    encoder = HashingEncoder()
    with Bank.create(tmp_path / "bank", encoder) as bank:
        bank.add([memory("put some box on dresser"), memory("look at cd under desklamp")])
        question = "put some mug on dresser"
        found = reasons(bank, question, bank.search(question, 2), weigh=True)
        for one in found:
            assert [word for word, _ in one.weights] == question.split()
            key = encoder.encode([one.hit.memory.key])[0]
            for word, fall in one.weights:
                whole, without = encoder.encode([question, " ".join(w for w in question.split() if w != word)])
                assert fall == pytest.approx(float(np.dot(whole - without, key)), abs=1e-6)
        assert dict(found[0].weights)["dresser"] > 0 > dict(found[0].weights)["mug"]
        assert reasons(bank, question, bank.search(question, 2))[0].weights == ()
        assert reasons(bank, question, [], weigh=True) == []
