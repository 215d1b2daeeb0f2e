"""A whole evaluation of a tiny model: every number again by hand, and what it refuses."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from dcar_edu import images, parts
from dcar_edu.checkpoint import save_module
from dcar_edu.data import CaptionedEmoji
from dcar_edu.metrics import judge_tokenizer, kid, retrieval, token_match
from dcar_edu.metrics.alignment import picture_features
from dcar_edu.metrics.evaluation import Plan, Sampling, evaluate
from dcar_edu.metrics.frechet import frechet_of_features
from dcar_edu.metrics.judge import PATHS, judge_pictures
from dcar_edu.metrics.progress import Progress
from dcar_edu.metrics.splits import SPLITS, Learnt, choose_pictures
from dcar_edu.metrics.subject import Subject

from ..standins import text_encoder
from .conftest import CONCEPTS

pytest.importorskip("torchmetrics")

QUICK = Sampling(num_steps=3, residual_steps=2)
FEW = Plan(splits=("held_out_colours",), pictures=7, prompts=9, sampling=QUICK, seed=4)


@pytest.fixture
def found(subject, alignment):
    return evaluate(subject, FEW, alignment=alignment, say=lambda line: None)


def test_pictures_are_judged_as_judge_tokenizer_does(subject, alignment, found):
    pictures = choose_pictures("held_out_colours", 32, 7, 4)
    assert len(pictures) == 7
    wanted = judge_tokenizer(subject.tokenizer, pictures.batches(), features=alignment.eyes)
    numbers = dict(found.numbers["splits"]["held_out_colours"])
    every = judge_pictures(subject.tokenizer, pictures.batches(), features=alignment.eyes)
    for path in PATHS:
        value = frechet_of_features(every["pooled"], every[f"pooled_{path}"])
        wanted[f"rfid_efficientnet_{path}"] = value
        for name in ("psnr", "ssim", "perceptual", "rkid_efficientnet", "rfid_efficientnet"):
            low, high = numbers.pop(f"{name}_{path}_interval")
            assert low <= numbers[f"{name}_{path}"] <= high, name
    assert numbers.keys() == wanted.keys()
    for name, value in wanted.items():
        assert numbers[name] == pytest.approx(value, abs=2e-6), name


def test_both_paths_are_judged_on_tokens_drawn_once(subject, alignment, learnt, monkeypatch):
    draw, asked = subject.whole.draw, []
    monkeypatch.setattr(subject.whole, "draw", lambda *a, **k: asked.append(a) or draw(*a, **k))
    found = evaluate(subject, FEW, alignment=alignment, say=lambda line: None).numbers["prompts"]
    pictures = choose_pictures("learnt", 32, 9, 4, learnt)
    prompts = [example.caption for example in pictures.examples]
    assert asked == [(prompts,)]
    assert len(set(prompts)) == 9

    labels = [example.label for example in pictures.examples]
    real = pictures.some(range(9))
    options = {"num_steps": 3, "seed": 4}
    tokens = subject.whole.generate_tokens(prompts, **options)
    drawn = subject.whole.generate(prompts, residual_steps=2, **options)
    hybrid = torch.stack([images.from_pil(picture) for picture in drawn])
    discrete = subject.tokenizer.decode(tokens)
    assert (hybrid - discrete).abs().mean() > 0.01  # or nothing would tell the paths apart
    for path, shown in (("hybrid", hybrid), ("discrete", discrete), ("real", real)):
        wanted = retrieval(alignment, shown, labels, CONCEPTS)
        assert (found[path]["r1"], found[path]["r5"]) == pytest.approx(
            (wanted.r1, wanted.r5), abs=1e-5
        )
        names = {"r1", "r5"}
        if path != "real":
            names |= {"kid_efficientnet", "fid_efficientnet"}
            seen = [picture_features(alignment.eyes, x) for x in (real, shown)]
            for name, value in (
                ("kid", 1000 * kid(*seen, paired=True)),
                ("fid", frechet_of_features(*seen)),
            ):
                stored = found[path][f"{name}_efficientnet"]
                assert stored == pytest.approx(value, rel=0.02, abs=0.02)
        assert found[path].keys() == names | {f"{name}_interval" for name in names}
        for name in names:
            low, high = found[path][f"{name}_interval"]
            assert low <= found[path][name] <= high
    low, high = found["token_match_interval"]
    assert low <= found["token_match"] <= high
    originals = subject.tokenizer.encode(real).indices
    assert found["token_match"] == pytest.approx(
        token_match(tokens, originals).mean().item(), abs=1e-6
    )
    assert (found["split"], found["prompts"], found["candidates"]) == ("learnt", 9, 6)
    assert found["chance"] == pytest.approx(1 / 6, abs=1e-6)


def test_the_same_seed_gives_the_same_table(subject, alignment, found):
    again = evaluate(subject, FEW, alignment=alignment, say=lambda line: None)
    assert again.markdown() == found.markdown()
    for numbers in (found.numbers, again.numbers):
        assert set(numbers.pop("seconds")) == {"held_out_colours", "prompts"}
    assert again.numbers == found.numbers
    other = evaluate(subject, replace(FEW, seed=5), alignment=alignment, say=lambda line: None)
    assert other.numbers["splits"] != found.numbers["splits"]
    assert other.numbers["prompts"] != found.numbers["prompts"]


def test_files(found, tmp_path):
    out = found.save(tmp_path / "out")
    assert {path.name for path in out.iterdir()} == {
        "evaluation.md", "evaluation.json", "held_out_colours.webp", "prompts.webp",
    }  # fmt: skip
    numbers = json.loads((out / "evaluation.json").read_text())
    assert numbers == json.loads(json.dumps(found.numbers))
    assert (numbers["model"], numbers["resolution"], numbers["device"]) == ("tiny", 32, "cpu")
    assert numbers["torch"] == torch.__version__
    assert numbers["features"] == "EfficientNet-Lite0"
    text = (out / "evaluation.md").read_text()
    assert text.startswith(found.markdown())
    assert "beside the pictures they describe](prompts.webp)" in text
    with Image.open(out / "prompts.webp") as sheet:
        assert sheet.width > 4 * 2 * 128


def test_a_tokenizer_alone_gets_no_prompts(subject, alignment):
    alone = Subject("half", subject.tokenizer)
    plan = Plan(splits=("train",), pictures=3, resolution=64)
    found = evaluate(alone, plan, alignment=alignment, say=lambda line: None)
    assert "prompts" not in found.numbers
    assert found.numbers["resolution"] == 64
    assert "Prompts drawn" not in found.markdown()
    with pytest.raises(ValueError, match="a tokenizer alone does not say at which resolution"):
        evaluate(alone, Plan(), alignment=alignment)
    assert replace(alone, learnt=subject.learnt).resolution(None) == 32


def test_a_model_that_lists_nothing_is_asked_for_the_data_it_may_know(subject, alignment):
    stranger = replace(subject, learnt=None)
    plan = replace(FEW, pictures=0, prompts=4)
    found = evaluate(stranger, plan, alignment=alignment, say=lambda line: None)
    assert found.numbers["splits"] == {}
    prompts = found.numbers["prompts"]
    assert (prompts["split"], prompts["prompts"]) == ("train", 4)
    assert prompts["candidates"] == len(CaptionedEmoji("train", 32).concepts) > 1000
    assert not [name for name in prompts if "token_match" in name]
    assert "tokens redrawn" not in found.markdown()


def test_without_a_choice_every_split_is_judged(subject, alignment):
    found = evaluate(
        subject, Plan(pictures=2, prompts=0), alignment=alignment, say=lambda line: None
    )
    assert tuple(found.numbers["splits"]) == SPLITS == tuple(found.sheets)
    assert all(numbers["images"] == 2 for numbers in found.numbers["splits"].values())


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (Plan(splits=("train", "moon")), "chosen from train, held_out_concepts,.*; got moon"),
        (Plan(resolution=40), "multiple of 32 and of the tokenizer's 8 pixels a token, got 40"),
        (Plan(resolution=0), "got 0. Choose another"),
        (Plan(splits=("train",), pictures=1, prompts=0), "two or more pictures, got 1"),
        (replace(FEW, pictures=0, resolution=320), "style '3d' comes as 256 px"),
    ],
)
def test_what_does_not_fit_is_explained(subject, alignment, plan, message):
    with pytest.raises(ValueError, match=message):
        evaluate(subject, plan, alignment=alignment)


def test_nothing_learnt_nothing_to_ask(subject, alignment):
    with pytest.raises(ValueError, match="needs a learnt.json in the model's folder"):
        evaluate(replace(subject, learnt=None), Plan(splits=("learnt",)), alignment=alignment)


def test_load_tells_a_whole_model_from_a_tokenizer(subject, learnt, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "load_text_encoder", text_encoder)
    whole = subject.whole.save_pretrained(tmp_path / "mine")
    learnt.write(whole)
    loaded = Subject.load(whole)
    assert (loaded.name, loaded.learnt, loaded.resolution(None)) == ("mine", learnt, 32)
    assert loaded.whole.tokenizer is loaded.tokenizer
    alone = Subject.load(whole / "tokenizer")
    assert (alone.name, alone.whole, alone.learnt) == ("tokenizer", None, None)
    save_module(tmp_path / "odd", subject.whole.generator, subject.whole.generator.config)
    with pytest.raises(ValueError, match="keys must be exactly those of TokenizerConfig"):
        Subject.load(tmp_path / "odd")


def test_what_was_learnt_is_read_strictly(learnt, tmp_path):
    assert Learnt.read(tmp_path) is None
    learnt.write(tmp_path)
    assert Learnt.read(tmp_path) == learnt
    path = tmp_path / "learnt.json"
    path.write_text(path.read_text().replace('"styles"', '"style"'))
    with pytest.raises(ValueError, match=r"learnt.json: keys must be exactly those of Learnt"):
        Learnt.read(tmp_path)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"learnt.json' is no JSON"):
        Learnt.read(tmp_path)


def test_the_shipped_model_lists_what_it_learnt():
    learnt = Subject.load("emoji-128").learnt
    examples = learnt.data().examples()
    assert (len(learnt.concepts), len(examples), learnt.resolution) == (560, 1113, 128)
    assert "a 3D emoji of a wolf on a pale blue background" in {e.caption for e in examples}


def test_progress_now_and_then(monkeypatch):
    now, said = [0.0], []
    monkeypatch.setattr("dcar_edu.metrics.progress.time.monotonic", lambda: now[0])
    progress = Progress(said.append)
    progress.begin("prompts", 9)
    for seconds, count in ((4, 2), (7, 2), (3, 2), (1, 3)):
        now[0] += seconds
        progress.add(count)
    assert said == ["prompts: 4/9", "prompts: 9/9"]
    progress.begin("train", 5)
    batches = [torch.zeros(3), torch.zeros(2)]
    assert list(progress.watch(iter(batches))) == batches
    assert said[2:] == ["train: 5/5"]
