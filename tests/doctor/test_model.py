"""A model looked at before it is used."""

import json
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants

from duomem_mlx.doctor.checks import FAIL, OK, WARN, Check
from duomem_mlx.doctor.model import examine_model
from duomem_mlx.models_on_disk import STUDENT
from duomem_mlx.student import machine

from ..student import tiny
from ..test_models_on_disk import refusing
from ..training import made


def save(folder: Path, template: str | None = tiny.CHATML, bits: int | None = None, words: tuple[str, ...] = ()) -> str:
    made.save_base(folder, bits=bits)
    (folder / "chat_template.jinja").unlink()
    tiny.tokenizer(template, words=words)._tokenizer.save_pretrained(folder)
    return str(folder)


def looked(name: str) -> dict[str, Check]:
    return {check.name: check for check in examine_model(name)}


def test_a_sound_model_has_no_fault(tmp_path: Path) -> None:
    checks = looked(save(tmp_path / "base"))
    assert list(checks) == ["where", "kind", "memory", "template", "thinking"]
    assert {check.status for check in checks.values()} == {OK}
    assert "16 games together" in checks["memory"].found
    assert "a system role" in checks["template"].found
    assert "does not think" in checks["thinking"].found


def test_the_default_student_has_no_fault(student_weights: Path) -> None:
    checks = looked(STUDENT)
    assert {check.status for check in checks.values()} == {OK}
    assert "45 kB a token" in checks["memory"].found


@pytest.mark.parametrize(
    ("template", "status", "said"),
    [
        (tiny.NO_SYSTEM, OK, "no system role"),
        (tiny.FORGETS, WARN, "changes earlier turns"),
        (None, WARN, "no chat template"),
    ],
)
def test_its_template_is_tried(template: str | None, status: str, said: str, tmp_path: Path) -> None:
    check = looked(save(tmp_path / "base", template))["template"]
    assert (check.status, said in check.found) == (status, True), check
    assert bool(check.fix) == (status != OK)


@pytest.mark.parametrize(
    ("template", "status", "said"),
    [
        (tiny.THOUGHTS_OF_THE_LAST, OK, "turned off here"),
        (tiny.CHATML.replace("assistant\n' }}{% endif %}", "assistant\n<think>\n' }}{% endif %}"), WARN, "cannot turn"),
    ],
)
def test_a_model_that_thinks_is_told(template: str, status: str, said: str, tmp_path: Path) -> None:
    check = looked(save(tmp_path / "base", template, words=("<think>", "</think>")))["thinking"]
    assert (check.status, said in check.found) == (status, True), check


def test_what_does_not_fit_fails_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "usable_bytes", lambda: 1 << 20)
    check = looked(save(tmp_path / "base"))["memory"]
    assert check.status == FAIL
    assert "models convert --bits 4" in check.fix
    packed = looked(save(tmp_path / "packed", bits=4))["memory"]
    assert packed.status == FAIL
    assert "4 bits" in packed.found
    assert "convert" not in packed.fix


def test_a_kind_that_nobody_can_play_and_a_torn_folder_fail(tmp_path: Path) -> None:
    base = save(tmp_path / "base")
    config = json.loads((tmp_path / "base" / "config.json").read_text())
    (tmp_path / "base" / "config.json").write_text(json.dumps({**config, "model_type": "abacus"}))
    assert looked(base)["kind"].status == FAIL
    assert "abacus" in looked(base)["kind"].found
    (tmp_path / "base" / "model.safetensors").unlink()
    (check,) = looked(base).values()
    assert (check.status, "lacks model.safetensors" in check.found) == (FAIL, True)
    (check,) = looked("no such model").values()
    assert (check.status, "There is no model" in check.found) == (FAIL, True)


def hub(monkeypatch: pytest.MonkeyPatch, folder: Path | str, gated: object = False, size: int = 3 << 30) -> None:
    """The Hub has a model of `size` bytes, whose other files come from `folder`, or are refused by the name of an
    error."""
    files = [SimpleNamespace(rfilename="model-1.safetensors", size=size), SimpleNamespace(rfilename="x.bin", size=9)]
    found = SimpleNamespace(gated=gated, siblings=files)

    def snapshot(*_: object, allow_patterns: list[str], local_files_only: bool, **__: object) -> str:
        assert not any("safetensors" in pattern for pattern in allow_patterns) or local_files_only
        if local_files_only:
            raise FileNotFoundError
        if isinstance(folder, Path):
            return str(folder)
        return str(refusing(folder)(local_files_only=False))

    monkeypatch.setattr(huggingface_hub, "model_info", lambda *_, **__: found)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)


def test_of_a_model_on_the_hub_all_but_the_weights_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").unlink()
    hub(monkeypatch, tmp_path / "base")
    checks = looked("owner/name")
    assert (checks["where"].status, "3.2 GB" in checks["where"].found) == (WARN, True)
    assert "3.00 GB of weights" in checks["memory"].found
    assert checks["template"].status == OK


def test_a_gated_model_says_where_its_terms_are(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, "GatedRepoError", gated="manual")
    checks = looked("owner/name")
    assert list(checks) == ["where", "files"]
    assert "terms" in checks["where"].found
    assert "huggingface.co/owner/name" in checks["where"].fix
    assert checks["files"].status == FAIL


def test_a_hub_out_of_reach_or_without_such_a_model_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (check,) = looked("owner/name").values()
    assert (check.status, "cannot be reached" in check.found) == (FAIL, True)
    monkeypatch.setattr(
        huggingface_hub, "model_info", lambda *_, **__: refusing("RepositoryNotFoundError")(local_files_only=False)
    )
    (check,) = looked("owner/name").values()
    assert (check.status, "no model owner/name on the Hub" in check.found) == (FAIL, True)
