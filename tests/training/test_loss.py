from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from mlx import nn
from mlx.utils import tree_flatten

from duomem_mlx import prompt
from duomem_mlx.student import cpu
from duomem_mlx.student.heads import logits_at
from duomem_mlx.student.transcript import make_writer
from duomem_mlx.training.budget import Means
from duomem_mlx.training.lanes import Lanes
from duomem_mlx.training.lora import add_lora, trainable
from duomem_mlx.training.loss import batch_of
from duomem_mlx.training.rows import make_epoch
from tests.student import tiny
from tests.training import made

VOCABULARY = made.COMMON["vocab_size"]


@pytest.fixture(scope="module")
def rows():
    write = make_writer(tiny.tokenizer(), prompt.COMPACT, "")
    return make_epoch([made.trajectory(i, turns=1 + i % 3) for i in range(5)], write, max_tokens=9999).rows


def ready(family, kind="lora", bits=None, dropout=0.0):
    model = made.quantized(made.model(family), bits)
    add_lora(model, 4, 2.0, dropout, (), -1, 0, kind)
    mx.random.seed(1)
    for _, module in model.named_modules():  # B is zero at first, and so would be all gradients of A
        if "lora_b" in module:
            module.lora_b = mx.random.normal(module.lora_b.shape) * 0.1
    mx.eval(model.parameters())
    return model


def plainly(model, rows):
    """Full logits of every row alone, every position's cross entropy, the mask: mean over all supervised tokens, each
    counted by its row's weight."""

    def loss(model):
        total, count = mx.array(0.0), 0.0
        for row in rows:
            logits = model(mx.array(row.tokens)[None, :-1])[0]
            each = nn.losses.cross_entropy(logits, mx.array(row.tokens[1:]), reduction="none")
            total = total + row.weight * (each * mx.array(row.trained[1:].astype(np.float32))).sum()
            count += row.weight * int(row.trained.sum())
        return total / count

    value, gradients = nn.value_and_grad(model, loss)(model)
    return value.item(), dict(tree_flatten(gradients))


def by_the_templates_text(model, tokenizer, trajectories):
    """Mean over every answer's tokens, found in the rendered template's text and not by any code of ours: full logits,
    cross entropy where the text says that the assistant speaks. (loss, gradients, supervised tokens)"""
    opens, closes = "<|im_start|>assistant\n", "<|im_end|>"
    examples = []
    for one in trajectories:
        talk = [{"role": "system", "content": "Act."}, {"role": "user", "content": one.opening}]
        for step in one.steps:
            thought = f"Thought: {step.thought}\n" if step.thought else ""
            talk.append({"role": "assistant", "content": f"{thought}Action: {step.action}"})
            talk.append({"role": "user", "content": step.observation})
        text = tokenizer.apply_chat_template(talk[:-1], tokenize=False)
        spoken, place = set(), 0
        while (place := text.find(opens, place)) >= 0:
            place += len(opens)
            spoken.update(range(place, text.index(closes, place) + len(closes)))
        found = tokenizer._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        examples.append((found["input_ids"], [begin in spoken for begin, _ in found["offset_mapping"]]))
    count = sum(sum(mask) for _, mask in examples)

    def loss(model):
        total = mx.array(0.0)
        for ids, mask in examples:
            logits = model(mx.array(ids)[None, :-1])[0]
            each = nn.losses.cross_entropy(logits, mx.array(ids[1:]), reduction="none")
            total = total + mx.where(mx.array(mask[1:]), each, 0).sum()
        return total / count

    value, gradients = nn.value_and_grad(model, loss)(model)
    return value.item(), dict(tree_flatten(gradients)), count


def ours(model, rows, most_tokens, count=1, coarse=False, recompute=None):
    logits, _ = logits_at(model)
    lanes = Lanes(model, logits, count)
    groups = Means(most_tokens=most_tokens, coarse=coarse, recompute=recompute).batches(rows)
    parts = list(lanes.gradients(model.trainable_parameters(), groups, [0] * len(groups)))
    lanes.close()
    mass = sum(row.mass for row in rows)
    gradients = {name: sum(part.gradients[name] for part in parts) / mass for name in parts[0].gradients}
    return sum(part.loss for part in parts) / mass, gradients


def assert_near(found, wanted, tolerance=1e-5):
    assert found[0] == pytest.approx(wanted[0], rel=tolerance)
    assert found[1].keys() == wanted[1].keys()
    for name, gradient in wanted[1].items():
        scale = mx.abs(gradient).max().item()
        assert scale > 0, name
        assert mx.abs(found[1][name] - gradient).max().item() <= tolerance * scale, name


@pytest.mark.parametrize("family", made.FAMILIES)
@pytest.mark.parametrize("most_tokens", [0, 100_000])
def test_loss_and_gradients_equal_full_logits(family, rows, most_tokens):
    model = ready(family)
    wanted = plainly(model, rows)
    assert_near(ours(model, rows, most_tokens), wanted)
    with cpu.quick():
        assert_near(ours(model, rows, most_tokens), wanted)


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("bits", [4, 8])
def test_so_do_those_of_dora_and_of_a_quantized_base(kind, bits, rows):
    model = ready("llama untied", kind, bits)
    assert_near(ours(model, rows, 100_000), plainly(model, rows))


@pytest.mark.parametrize("family", made.FAMILIES)
def test_every_answer_is_trained_as_the_templates_text_has_it(family):
    tokenizer = tiny.tokenizer()
    many = [made.trajectory(i, turns=1 + 2 * (i % 3)) for i in range(4)]
    rows = make_epoch(many, make_writer(tokenizer, prompt.CHAT, "Act."), max_tokens=9999).rows
    model = ready(family)
    *wanted, count = by_the_templates_text(model, tokenizer, many)
    assert sum(row.supervised for row in rows) == len(batch_of(rows, 9999)[1]) == count
    assert_near(ours(model, rows, 0), wanted)
    assert_near(ours(model, rows, 100_000), wanted)


@pytest.mark.parametrize("family", made.FAMILIES)
def test_gradients_with_checkpointing_are_those_without(family, rows):
    model = ready(family)
    wanted = ours(model, rows, 0)
    before = [type(block) for block in model.layers]
    assert_near(ours(model, rows, 0, count=2, recompute=True), wanted, 1e-6)
    with cpu.quick():
        assert_near(ours(model, rows, 100_000, coarse=True, recompute=True), wanted)
    assert [type(block) for block in model.layers] == before
    assert not any("_own_seed" in vars(block) for block in model.layers)


def test_what_is_computed_again_drops_out_the_same(rows):
    model = ready("llama tied", dropout=0.5)
    model.train()
    wanted = ours(model, rows, 0)
    assert_near(ours(model, rows, 0, recompute=True), wanted)
    model.eval()
    assert ours(model, rows, 0)[0] != pytest.approx(wanted[0], rel=1e-3)


@pytest.mark.parametrize("most_tokens", [0, 100_000])
def test_weights_count_in_the_mean(rows, most_tokens):
    model = ready("llama tied")
    weighted = [replace(row, weight=1 / (1 + i)) for i, row in enumerate(rows)]
    found = ours(model, weighted, most_tokens)
    assert_near(found, plainly(model, weighted))
    assert found[0] != pytest.approx(ours(model, rows, most_tokens)[0], rel=1e-3)


def test_padding_is_never_scored(rows):
    width = max(len(row.tokens) for row in rows) + 5
    ids, at, wanted, weights = batch_of(rows, width)
    supervised = sum(row.supervised for row in rows)
    assert len(at) == len(wanted) == len(weights) == supervised
    assert ids.shape == (len(rows), width)
    for place, token in zip(at.tolist(), wanted.tolist(), strict=True):
        row, column = divmod(place, width)
        assert column + 1 < len(rows[row].tokens)
        assert rows[row].tokens[column + 1] == token
        assert rows[row].trained[column + 1]


def test_lanes_give_the_same_bytes_whatever_their_number(rows):
    model = ready("llama tied")
    before = dict(tree_flatten(model.parameters()))
    with cpu.quick():
        one, three = ours(model, rows, 0, count=1), ours(model, rows, 0, count=3)
    assert one[0] == three[0]
    assert all(mx.array_equal(one[1][name], three[1][name]) for name in one[1])
    after = dict(tree_flatten(model.parameters()))
    assert all(mx.array_equal(before[name], after[name]) for name in before)


def test_dropout_follows_from_the_seed_alone(rows):
    model = made.model()
    add_lora(model, 4, 2.0, 0.5, (), -1, 0)
    model.train()
    logits, _ = logits_at(model)
    found = []
    for count, seeds in ((1, range(5)), (3, range(5)), (1, range(5, 10))):
        lanes = Lanes(model, logits, count)
        groups = Means().batches(rows)
        weights = model.trainable_parameters()
        found.append(
            [
                mx.concatenate([g.flatten() for g in part.gradients.values()])
                for part in lanes.gradients(weights, groups, list(seeds))
            ]
        )
        lanes.close()
    assert all(mx.array_equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert not all(mx.array_equal(a, b) for a, b in zip(found[0], found[2], strict=True))


def test_a_validation_has_no_dropout(rows):
    model = made.model()
    add_lora(model, 4, 2.0, 0.5, (), -1, 0)
    model.load_weights([(name, mx.ones_like(array)) for name, array in trainable(model).items()], strict=False)
    model.eval()
    logits, _ = logits_at(model)
    wanted = [plainly(model, [row])[0] * row.supervised for row in rows]
    model.train()
    lanes = Lanes(model, logits, 2)
    found = [part.loss for part in lanes.losses(model.trainable_parameters(), Means().batches(rows))]
    lanes.close()
    assert sorted(found) == pytest.approx(sorted(wanted), rel=1e-5)
    assert model.training
