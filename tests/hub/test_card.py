"""The card: what the Hub wants of it, and that it says what was measured."""

import json
import shutil
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, metadata_load
from huggingface_hub.repocard_data import eval_results_to_model_index
from huggingface_hub.utils import validate_repo_id

from duomem_mlx.errors import UsageError
from duomem_mlx.hub.assemble import Said, assemble
from duomem_mlx.memory.bank import Bank
from tests.hub import making, server
from tests.memory.hashing import HashingEncoder, memory

REPO = f"{server.USER}/tiny-alfworld"


@pytest.fixture
def text(parts, tmp_path) -> str:
    (tmp_path / "bundle").mkdir()
    with Bank.open(parts / "bank") as bank:
        said = Said(REPO, making.BASE, "mit")
        return assemble(tmp_path / "bundle", parts / "adapter", bank, parts / "results", said, None)


def test_its_metadata_is_what_the_hub_reads(text: str) -> None:
    data = ModelCard(text).data.to_dict()
    assert data["base_model"] == making.BASE
    assert data["base_model_relation"] == "adapter"
    assert data["library_name"] == "mlx"
    assert "mlx" in data["tags"]
    assert data["license"] == "mit"
    (index,) = data["model-index"]
    assert index["name"] == "tiny-alfworld"
    (result,) = index["results"]
    assert result["dataset"] == {"name": "ALFWorld valid_seen, 24 games", "type": "alfworld", "split": "valid_seen"}
    metrics = {metric["name"].partition(":")[0]: metric for metric in result["metrics"]}
    assert metrics.keys() == {"adapter", "duomem"}
    assert metrics["duomem"]["value"] == 0.5833
    assert metrics["duomem"]["name"] == "duomem: 14 of 24 games won, 95% interval 38.8 to 75.5%"


def test_huggingface_hub_s_own_validation_passes(hub, text: str) -> None:
    """It asks its endpoint, here the one of these tests; the classes that it reads with are its own."""
    card = ModelCard(text)
    card.validate()
    assert "POST /api/validate-yaml" in hub.asked
    card.data.license = "whatever"
    with pytest.raises(ValueError, match="license"):
        card.validate()


def test_huggingface_hub_reads_back_what_was_written_and_needs_no_network(text: str, tmp_path) -> None:
    """Its readers are strict where the Hub's rules are known to them: the model-index above all."""
    card = ModelCard(text)
    results = card.data.eval_results
    summary = json.loads(making.SMALL.read_text())["arms"]
    assert [(one.metric_value, one.dataset_split) for one in results] == [
        (round(summary[arm]["success"], 4), "valid_seen") for arm in ("adapter", "duomem")
    ]
    (tmp_path / "README.md").write_text(text)
    found = metadata_load(tmp_path / "README.md")
    assert found == card.data.to_dict()
    assert found["model-index"] == eval_results_to_model_index("tiny-alfworld", results)
    validate_repo_id(found["base_model"])
    with pytest.raises(ValueError, match="model_index"):
        ModelCard(text.replace("metrics:", "measures:", 1))


def test_it_says_what_a_reader_has_to_know(text: str) -> None:
    summary = json.loads(making.SMALL.read_text())
    for arm, figures in summary["arms"].items():
        low, high = figures["wilson95"]
        assert f"| {arm} | {figures['won']}/24 | {figures['success']:.1%} [{100 * low:.1f}–{100 * high:.1f}] |" in text
    for words in (
        "24 games of ALFWorld's valid_seen, at most 30 actions each, greedy, from observations alone, k = 2 memories",
        "Measured on AMD EPYC, 24 GB,",
        "on the cpu, float32",
        f"duomem-mlx run --model {making.BASE} --adapter {REPO} --memories {REPO}",
        "ALFWorld](https://github.com/alfworld/alfworld)'s (MIT licence)",
        "- **Teacher**: the search program of duomem-mlx (Apache-2.0)",
        "1,234 trajectories of games that were won, 5 more held out, seed 3",
        "24 games and one seed",
        "found with the encoder hashing",
        "in the style `compact-1`",
    ):
        assert words in text


def test_what_was_not_plain_about_the_play_is_told(parts, tmp_path, text: str) -> None:
    assert "decoding" not in text
    results = tmp_path / "results"
    results.mkdir()
    summary = json.loads((parts / "results" / "summary.json").read_text())
    summary |= {"decoding": {"temp": 0.5, "avoid_refused": True}, "learn": "validation"}
    (results / "summary.json").write_text(json.dumps(summary))
    (tmp_path / "other").mkdir()
    with Bank.open(parts / "bank") as bank:
        said = Said(REPO, making.BASE, "mit")
        card = assemble(tmp_path / "other", parts / "adapter", bank, results, said, None)
    assert "decoding temp 0.5, avoid_refused True" in card
    assert "Banks learnt while they were played (validation)" in card


def test_the_shipped_ones_need_nothing_said(call) -> None:
    """The default student's id, licence and teacher are known here."""
    found, out, err = call(
        "publish", "smollm2-135m-alfworld", "--memories", "alfworld-search", "--to", REPO, "--dry-run"
    )
    assert found == 0, err
    assert "base_model: HuggingFaceTB/SmolLM2-135M-Instruct" in out
    assert "license: apache-2.0" in out
    assert "None were published with it." in out
    assert "model-index" not in out
    assert "found with the encoder all-minilm-l6-v2 (licence apache-2.0)" in out


@pytest.mark.parametrize("arms", [{}, [], {"duomem": {}}, {"duomem": {"won": 1}}, None])
def test_results_that_are_not_whole_are_told(call, parts, tmp_path, arms) -> None:
    results = tmp_path / "results"
    results.mkdir()
    summary = json.loads((parts / "results" / "summary.json").read_text())
    (results / "summary.json").write_text(json.dumps({**summary, "arms": arms}))
    words = making.publishing(parts, REPO, "--dry-run")
    words[words.index("--results") + 1] = str(results)
    found, _, err = call(*words)
    assert found in ((0, 1) if arms == {} else (1,)), err
    assert arms == {} or "duomem.json and these results" in err


@pytest.mark.parametrize(
    ("teachers", "world", "said"),
    [
        (["search"], "household", None),
        ([], "household", "--teacher search"),
        (["acme/big", "search"], "household", "name acme/big, household's own teacher"),
        (["search"], "shelves", "name shelves's own teacher"),
    ],
)
def test_who_taught_is_known_or_asked_for(parts, tmp_path, teachers, world, said) -> None:
    """Our search program taught in the household alone; what an adapter does not say its memories do not say for it."""
    adapter = Path(shutil.copytree(parts / "adapter", tmp_path / "adapter"))
    record = json.loads((adapter / "duomem.json").read_text())
    (adapter / "duomem.json").write_text(json.dumps({**record, "data": {"teachers": teachers}}))
    (tmp_path / "bundle").mkdir()
    with Bank.create(tmp_path / "bank", HashingEncoder()) as bank:
        one = memory()
        bank.add([replace(one, source=replace(one.source, environment=world))])
        with nullcontext() if said is None else pytest.raises(UsageError) as refused:
            assemble(tmp_path / "bundle", adapter, bank, None, Said(REPO, making.BASE, "mit"), None)
    assert said is None or said in f"{refused.value.what} {refused.value.fix}"


def test_a_record_that_is_not_as_it_is_written_is_named(call, parts, tmp_path) -> None:
    adapter = Path(shutil.copytree(parts / "adapter", tmp_path / "adapter"))
    words = [
        "publish",
        adapter,
        "--to",
        REPO,
        "--base",
        making.BASE,
        "--license",
        "mit",
        "--teacher",
        "me",
        "--dry-run",
    ]
    for data in (3, {"trajectories": "many"}):
        (adapter / "duomem.json").write_text(json.dumps({"data": data}))
        found, _, err = call(*words)
        assert found == 1
        assert f"No card can be made of {adapter / 'duomem.json'} (" in err
