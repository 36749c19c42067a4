"""What figures were measured on."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from duomem_mlx.student import machine


def supplies(folder: Path, **of: dict[str, str]) -> Path:
    for name, lines in of.items():
        (folder / name).mkdir(parents=True)
        for file, line in lines.items():
            (folder / name / file).write_text(f"{line}\n")
    return folder


PLUGGED = {"type": "Mains", "online": "1"}
UNPLUGGED = {"type": "Mains", "online": "0"}
MOUSE = {"type": "Battery", "status": "Discharging", "scope": "Device"}


@pytest.mark.parametrize(
    ("found", "power"),
    [
        ({}, None),
        ({"AC": PLUGGED}, machine.MAINS),
        ({"AC": PLUGGED, "BAT0": {"type": "Battery", "status": "Full"}}, machine.MAINS),
        ({"AC": UNPLUGGED, "BAT0": {"type": "Battery", "status": "Discharging"}}, machine.BATTERY),
        ({"BAT0": {"type": "Battery", "status": "Discharging"}}, machine.BATTERY),
        ({"AC": PLUGGED, "BAT0": {"type": "Battery", "status": "Not charging"}}, machine.MAINS),
        ({"BAT0": {"type": "Battery", "status": "Unknown"}}, None),
        ({"mouse": MOUSE}, None),
        ({"mouse": MOUSE, "AC": PLUGGED}, machine.MAINS),
        ({"odd": {}}, None),
    ],
)
def test_power_by_linuxs_list_of_supplies(
    found: dict[str, dict[str, str]], power: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(machine, "SUPPLIES", supplies(tmp_path / "supplies", **found))
    assert machine.power_source() == power


@pytest.mark.parametrize(
    ("said", "power"),
    [
        ("Now drawing from 'AC Power'\n -InternalBattery-0 (id=1)\t100%; charged\n", machine.MAINS),
        ("Now drawing from 'Battery Power'\n -InternalBattery-0 (id=1)\t63%; discharging\n", machine.BATTERY),
        ("Now drawing from 'UPS Power'\n", machine.BATTERY),
        ("", None),
    ],
)
def test_power_by_a_macs_pmset(said: str, power: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    answer = subprocess.CompletedProcess([], 0, stdout=said)
    monkeypatch.setattr(subprocess, "run", lambda command, **_: answer if command[0] == "pmset" else None)
    assert machine.power_source() == power


def test_a_mac_without_pmset_is_one_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise FileNotFoundError("pmset")

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", missing)
    assert machine.power_source() is None


def test_the_record_says_what_figures_need_beside_them() -> None:
    record = machine.machine_record()
    assert {"chip", "device", "ram_gb", "cores", "system", "power", "mlx", "mlx_lm"} == record.keys()
    assert record["chip"]
    assert record["power"] in (machine.MAINS, machine.BATTERY, None)


def test_a_process_has_held_at_least_what_it_holds() -> None:
    held = bytearray(64 << 20)
    held[::4096] = b"x" * len(held[::4096])
    before = machine.peak_resident_bytes()
    assert before >= machine.resident_bytes() * 0.9
    del held
    assert machine.peak_resident_bytes() >= before


def test_the_age_of_a_process_is_what_its_parent_measures():
    call = "import time; time.sleep(0.5); from duomem_mlx.student.machine import process_age; print(process_age())"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True)
    assert 0.5 < float(done.stdout) < time.monotonic() - began + 0.02
