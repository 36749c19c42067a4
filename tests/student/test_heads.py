import mlx.core as mx
import pytest
from mlx import nn

from duomem_mlx.student.heads import logits_at
from tests.training import made

VOCABULARY = made.COMMON["vocab_size"]
IDS = mx.arange(24).reshape(2, 12)
AT = mx.array([3, 11, 20])


@pytest.mark.parametrize("family", made.FAMILIES)
def test_only_scored_positions_pass_the_head(family, monkeypatch):
    model = made.model(family)
    logits, spares = logits_at(model)
    assert spares
    scored = []  # rows of whatever is as wide as the vocabulary

    def watch(space, name):
        plain = getattr(space, name)

        def watched(self, x):
            y = plain(self, x)
            if y.shape[-1] == VOCABULARY:
                scored.append(y.size // VOCABULARY)
            return y

        monkeypatch.setattr(space, name, watched)

    watch(nn.Linear, "__call__")
    watch(nn.Embedding, "as_linear")
    assert logits(IDS, AT).shape == (AT.size, VOCABULARY)
    assert scored == [AT.size]
    assert AT.size < IDS.size


class Odd(nn.Module):
    """A model whose structure nobody knows."""

    def __init__(self, inner):
        super().__init__()
        self.stem = inner

    def __call__(self, ids):
        return self.stem(ids)

    @property
    def layers(self):
        return self.stem.layers


def test_an_unknown_structure_falls_back_to_full_logits():
    model = Odd(made.model())
    logits, spares = logits_at(model)
    assert not spares
    whole = model(IDS)
    assert mx.array_equal(logits(IDS, AT), whole.reshape(-1, whole.shape[-1])[AT])
