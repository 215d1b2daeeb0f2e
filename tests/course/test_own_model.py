"""Judging one's own model, loading it in a fresh process, and the appendix's commands."""

import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import dcar_edu
from dcar_edu import DCAR, HybridTokenizer, MaskedGenerator, images
from dcar_edu.course import frontend, own_model
from dcar_edu.course.lessons.step_16 import PARTS
from dcar_edu.course.own_data import example_folder
from dcar_edu.course.processes import run_in_process
from dcar_edu.data.checking import report_on, write_folder
from dcar_edu.data.gathering import gather

from ..standins import GENERATOR, TOKENIZER, text_encoder


@pytest.fixture
def model():
    torch.manual_seed(2)
    return DCAR(HybridTokenizer(TOKENIZER), MaskedGenerator(GENERATOR), text_encoder())


def test_every_weight_is_in_one_part(model):
    found = own_model.weights_by_part(model)
    assert tuple(found) == PARTS
    ids = [id(weight) for weights in found.values() for weight in weights]
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(weight) for weight in model.parameters()}
    assert found["codes"][0] is model.tokenizer.quantizer.codes


def test_the_frozen_half_gives_the_latents(model):
    pictures = torch.rand(2, 3, 32, 40) * 2 - 1
    latents = own_model.Latents(model.tokenizer)(pictures)
    assert torch.equal(latents, model.tokenizer.encode(pictures).latents)
    assert not latents.requires_grad
    drawn = model.tokenizer.decode_latents(latents).detach()
    torch.testing.assert_close(own_model.redrawn(model, pictures), drawn)


def test_the_nearest_of_other_pictures_is_told_in_db():
    others = torch.stack([torch.full((3, 40, 40), level) for level in (-0.9, 0.5, 0.0)])
    some = torch.stack([torch.full((3, 40, 40), level) for level in (0.7, -0.9)])
    found = own_model.nearest(some, others)
    assert found.places.tolist() == [1, 0]
    assert found.decibels[0].item() == pytest.approx(20, abs=1e-3)
    assert found.decibels[1].isinf()


def test_a_run_has_another_name_when_pictures_or_plans_change():
    names = {own_model.key_of(*parts) for parts in ((1, "a"), (2, "a"), (1, "b"), (1, "a"))}
    assert len(names) == 3


class Parrot(torch.nn.Module):
    """A model that redraws exactly and draws what it is told to."""

    device = torch.device("cpu")

    def __init__(self, drawings):
        super().__init__()
        self.drawings, self.tokenizer, self.asked = drawings, self, []

    def encode(self, pictures):
        self.kept = pictures
        return type("Seen", (), {"indices": None, "residuals": torch.ones(1)})

    def decode(self, indices, residuals=None):
        return self.kept if residuals is not None else self.kept + 0.2

    def generate(self, captions, **how):
        self.asked.append((captions, how))
        return [images.to_pil(picture) for picture in self.drawings]


def test_a_drawing_is_right_when_it_looks_like_its_own_group():
    generator = torch.Generator().manual_seed(4)
    crowd = torch.rand(5, 3, 32, 32, generator=generator) * 1.6 - 0.8
    groups = ["fox", "fox", "owl", "owl", "hen"]
    everyone = own_model.Crowd(crowd, groups)
    assert everyone.chance == pytest.approx((4 + 4 + 1) / 25)
    parrot = Parrot(crowd[[1, 0, 4]])  # the other fox: right; a fox for an owl: wrong; the hen
    asked = (crowd[[0, 2, 4]], ["a", "b", "c"], ["fox", "owl", "hen"])
    found = own_model.judge(parrot, *asked, everyone, guidance=2.0, steps=5, seed=7)
    assert found.right_thing.tolist() == [1.0, 0.0, 1.0]
    assert found.psnr_hybrid.isinf().all()
    assert found.psnr_discrete.tolist() == pytest.approx([20.0] * 3, abs=1e-3)
    assert parrot.asked == [(["a", "b", "c"], {"num_steps": 5, "guidance": 2.0, "seed": 7})]
    assert len(found.drawn) == 3


def test_a_mean_is_told_with_its_interval_and_sign():
    values = torch.tensor([1.0, 3.0])
    assert own_model.with_interval(values, 1) == "2.0 [1.0, 3.0]"
    assert own_model.with_interval(-values, 2, sign=True) == "-2.00 [-3.00, -1.00]"


def test_a_picture_is_named_by_every_pixel():
    picture = Image.new("RGB", (5, 3), (1, 2, 3))
    other = picture.copy()
    other.putpixel((4, 2), (1, 2, 4))
    assert own_model.name_of(picture) == own_model.name_of(picture.copy())
    assert own_model.name_of(picture) != own_model.name_of(other)


def test_a_process_gives_what_it_prints_or_says_why_not(tmp_path):
    code = "import dcar_edu, os; print(dcar_edu.__file__); print(os.getcwd())"
    file, folder = run_in_process([sys.executable, "-c", code], tmp_path).splitlines()
    assert Path(file) == Path(dcar_edu.__file__)
    assert Path(folder) == tmp_path
    with pytest.raises(RuntimeError, match="failed:\n.*no luck"):
        run_in_process([sys.executable, "-c", "raise SystemExit('no luck')"], tmp_path)


def test_the_card_is_shown_with_its_pictures(tmp_path, monkeypatch):
    Image.new("RGB", (4, 4)).save(tmp_path / "four.webp")
    text = "---\nlicense: mit\n---\n\n# my model\n\n![Four](four.webp)\n"
    (tmp_path / "README.md").write_text(text, "utf-8")
    shown = []
    monkeypatch.setattr(own_model, "publish", shown.append)
    own_model.show_card(tmp_path)
    (data,) = shown
    assert data["text/plain"] == text
    assert data["text/markdown"].startswith("```yaml\nlicense: mit\n```\n")
    assert "![Four](data:image/png;base64,iVBOR" in data["text/markdown"]
    assert frontend.in_kernel() is False


def test_shards_hold_every_picture_once(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    raw = list(gather(str(example_folder(tmp_path / "raw", side=32, things=3))))
    report = report_on(raw, 32)
    good = [p for p in raw if p.name in {q.name for q in report.fine}]
    folder = own_model.write_shards(write_folder(good, tmp_path / "clean"), tmp_path / "shards")
    assert len(list(folder.glob("*.parquet"))) == 2
    back = list(gather(f"hub:{folder}"))
    assert sorted(p.caption for p in back) == sorted(p.caption for p in good)
    assert {own_model.name_of(Image.fromarray(p.pixels)) for p in back} == {
        own_model.name_of(Image.fromarray(p.pixels)) for p in good
    }


@pytest.mark.slow
def test_the_commands_of_the_appendix_run_in_two_processes(tmp_path, monkeypatch):
    """Two minutes on one core: four starts of the library, seven steps."""
    pytest.importorskip("accelerate")
    pytest.importorskip("tyro")
    raw = list(gather(str(example_folder(tmp_path / "raw", things=3))))
    good = [p for p in raw if p.name.count("/") and not p.name.startswith("unsorted")]
    printed = own_model.spread_out(write_folder(good, tmp_path / "clean"), tmp_path)
    decoder, generator = printed.values()
    assert "4/4" in decoder
    assert decoder.count("finished: runs/tokenizer/model") == 1  # one process speaks
    assert "3/3" in generator
    assert "finished: runs/generator/model" in generator
    assert DCAR.from_pretrained(tmp_path / "runs" / "generator").generator.config.grid == (4, 4)
