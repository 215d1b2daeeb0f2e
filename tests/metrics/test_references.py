"""References with each known set's columns, in Parquet files and folders, judged as streams."""

import io
import json
import weakref
from dataclasses import replace

import pytest
import torch
from PIL import Image

from dcar_edu import images
from dcar_edu.data.stored import decode
from dcar_edu.metrics import kid, references
from dcar_edu.metrics.against import compare
from dcar_edu.metrics.alignment import picture_features
from dcar_edu.metrics.evaluation import Plan, evaluate
from dcar_edu.metrics.frechet import frechet_of_features
from dcar_edu.metrics.networks import Network, load_network
from dcar_edu.metrics.prompts import Sampling
from dcar_edu.metrics.references import (
    REFERENCES,
    Reference,
    ReferenceBatch,
    find_reference,
    read_batches,
)
from dcar_edu.metrics.results import Evaluation

pytest.importorskip("torchmetrics")
QUICK = Sampling(num_steps=3, residual_steps=2)


def coloured(number):
    return (20 * number % 256, 255 - 20 * number % 256, 7)


def stored(number):
    buffer = io.BytesIO()
    Image.new("RGB", (44, 36), coloured(number)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


COLUMNS = {
    "mjhq-30k": {"prompt": "an animal {}", "category": "animals"},
    "coco": {"question_id": "{}", "answer": ["a dog {}", "one dog"], "question": "What is it?"},
    "celeba-hq": {"text": "a photo of a person {}"},
    "lsun": {},
}
WORDS = {"mjhq-30k": "an animal {}", "coco": "a dog {}", "celeba-hq": "a photo of a person {}",
         "lsun": ""}  # fmt: skip

CARD = """---
configs:
- config_name: default
  data_files:
  - split: {split}
    path: data/{split}-*
---
"""


def filled(value, number):
    if isinstance(value, list):
        return [filled(one, number) for one in value]
    return value.format(number)


@pytest.fixture
def parquet(tmp_path, monkeypatch):
    """Writes a known set's columns, eleven pictures in two files; gives the folder."""
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()

    def write(name, count=11):
        split = REFERENCES[name].split
        rows = {"image": [stored(i) for i in range(count)]} | {
            column: [filled(value, i) for i in range(count)]
            for column, value in COLUMNS[name].items()
        }
        whole = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
        folder = tmp_path / name
        (folder / "data").mkdir(parents=True)
        (folder / "README.md").write_text(CARD.format(split=split))
        for number, places in enumerate((range(4), range(4, count))):
            file = f"{split}-{number:05}-of-00002.parquet"
            whole.select(places).to_parquet(folder / "data" / file)
        return folder

    return write


@pytest.mark.parametrize("name", list(REFERENCES))
def test_a_known_set_is_read_by_its_columns(parquet, name):
    folder = parquet(name)
    known = replace(find_reference(name), source=str(folder))
    batches = list(read_batches(known, 32, count=9))
    assert [batch.images.shape for batch in batches] == [(9, 3, 32, 32)]
    turns = [0, 4, 1, 5, 2, 6, 3, 7, 8]  # the files take turns
    assert batches[0].captions == [WORDS[name].format(i) for i in turns]
    seen = ((batches[0].images[:, :, 5, 9] + 1) * 127.5).round().int().tolist()
    assert [tuple(pixel) for pixel in seen] == [coloured(i) for i in turns]
    assert sum(len(batch.images) for batch in read_batches(known, 32, count=99)) == 11


def test_a_reference_by_name_folder_or_columns(tmp_path):
    assert find_reference("coco") == REFERENCES["coco"]
    assert find_reference("hub:some/set") == Reference("hub:some/set")
    assert find_reference(str(tmp_path)).source == str(tmp_path)
    changed = find_reference("coco", split="test", image="picture", caption="words")
    assert changed == Reference("hub:lmms-lab/COCO-Caption2017", "test", "picture", ("words",))
    assert find_reference("coco", caption="").captions == ()
    with pytest.raises(ValueError, match="one of mjhq-30k, coco, celeba-hq, lsun, or hub:NAME"):
        find_reference("imagenet")


def test_a_column_that_is_not_there_is_said(parquet):
    folder = str(parquet("coco"))
    with pytest.raises(ValueError, match="asked for 'image' as pictures and 'words' as captions"):
        list(read_batches(Reference(folder, "val", captions=("words", "texts")), 32, 3))
    with pytest.raises(ValueError, match="asked for 'picture' as pictures. Name"):
        list(read_batches(Reference(folder, "val", image="picture", captions=()), 32, 3))
    with pytest.raises(ValueError, match="cannot read the data set .* split 'train'"):
        list(read_batches(Reference(folder), 32, 3))


@pytest.fixture
def pictures(tmp_path):
    """Seven files with captions."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(7):
        Image.new("RGB", (40, 33), coloured(i)).save(folder / f"{i}.png")
        (folder / f"{i}.txt").write_text(f"colour {i}")
    return folder


def test_a_folder_of_picture_files(pictures, monkeypatch):
    monkeypatch.setattr(references, "CHUNK", 3)
    reference = find_reference(str(pictures))
    batches = list(read_batches(reference, 32, 99))
    assert [len(batch.images) for batch in batches] == [3, 3, 1]
    assert [c for batch in batches for c in batch.captions] == [f"colour {i}" for i in range(7)]
    some = [batch.captions for batch in read_batches(reference, 32, 2, seed=1)]
    assert some != [batch.captions for batch in read_batches(reference, 32, 2, seed=2)]
    (pictures / "3.txt").unlink()
    with pytest.raises(ValueError, match="3.png has no caption, and others have"):
        list(read_batches(reference, 32, 99))
    silent = find_reference(str(pictures), caption="")
    assert {c for batch in read_batches(silent, 32, 99) for c in batch.captions} == {""}
    for path in pictures.glob("*.txt"):
        path.unlink()
    assert {c for batch in read_batches(reference, 32, 99) for c in batch.captions} == {""}


def test_a_batch_that_was_read_is_not_held(monkeypatch):
    alive, most = weakref.WeakSet(), []

    def batches(*arguments):
        for _ in range(4):
            pictures = torch.zeros(2, 3, 32, 32)
            alive.add(pictures)
            most.append(len(alive))
            yield ReferenceBatch(pictures, ["", ""])
            del pictures

    monkeypatch.setattr(references, "_batches", batches)
    for batch in read_batches(Reference("anywhere"), 32, 8):
        assert len(batch.images) == 2
        del batch
    assert most == [1, 1, 1, 1]


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(ValueError, match="holds no picture. Check its name"):
        list(read_batches(find_reference(str(tmp_path)), 32, 3))


def test_every_number_of_a_reference(subject, alignment, parquet, tmp_path):
    folder = parquet("celeba-hq")
    plan = Plan(prompts=5, sampling=QUICK, seed=4, reference=find_reference(str(folder)))
    found = evaluate(subject, plan, alignment=alignment, say=lambda line: None)
    numbers = found.numbers["reference"]
    assert (numbers["source"], numbers["redrawn"]["images"]) == (str(folder), 5)
    assert found.numbers["splits"] == {}
    assert "prompts" not in found.numbers

    turns = [0, 4, 1, 5, 2]
    real = decode([stored(i)["bytes"] for i in turns], turns, "set", 32)
    prompts = [f"a photo of a person {i}" for i in turns]
    options = {"num_steps": 3, "residual_steps": 2, "seed": [4 + i for i in range(5)]}
    drawn = subject.whole.generate(prompts, **options)
    shown = torch.stack([images.from_pil(picture) for picture in drawn])
    seen = [picture_features(alignment.eyes, x) for x in (real, shown)]
    wanted = {"kid": 1000 * kid(*seen, paired=True), "fid": frechet_of_features(*seen)}
    for name, value in wanted.items():
        stored_value = numbers["drawn"]["hybrid"][f"{name}_efficientnet"]
        assert stored_value == pytest.approx(value, rel=0.02, abs=0.02)
        low, high = numbers["drawn"]["hybrid"][f"{name}_efficientnet_interval"]
        assert low <= stored_value <= high
    assert numbers["drawn"]["discrete"] != numbers["drawn"]["hybrid"]

    text = found.markdown()
    assert f"## Reference {folder}, split train" in text
    assert "gFID, EfficientNet" in text
    assert "5 captions, drawn once in 3 steps" in text
    again = Evaluation.read(found.save(tmp_path / "out"))
    assert again.numbers == json.loads(json.dumps(found.numbers))
    assert set(again.sheets) == {"reference_redrawn", "reference_drawn"}
    for sheet in again.sheets.values():
        sheet.close()


def test_without_captions_pictures_are_only_redrawn(subject, alignment, parquet):
    reference = replace(REFERENCES["lsun"], source=str(parquet("lsun")))
    plan = Plan(pictures=6, prompts=3, reference=reference)
    found = evaluate(subject, plan, alignment=alignment, say=lambda line: None)
    assert found.numbers["reference"]["redrawn"]["images"] == 6
    assert "drawn" not in found.numbers["reference"]
    assert list(found.sheets) == ["reference_redrawn"]
    assert "gFID" not in found.markdown()


def test_another_network_gives_its_name_to_every_distance(subject, alignment, parquet):
    """And is asked for them alone: the perceptual distance stays EfficientNet's."""
    asked = []

    def see(pictures):
        asked.append(len(pictures))
        return pictures.mean((2, 3))

    batches = [ReferenceBatch(torch.rand(3, 3, 32, 32) * 2 - 1, ["a", "b", "c"])] * 2
    found, _ = compare(
        subject, batches, sampling=QUICK, features=alignment.eyes, network=Network("inception", see)
    )
    names = [*found["redrawn"], *found["drawn"]["hybrid"]]
    assert not [name for name in names if "efficientnet" in name]
    assert len([name for name in names if "fid_inception" in name]) == 6
    assert asked == [3] * 2 * (3 + 3)


def test_batches_are_dropped_as_they_pass(subject, alignment):
    """Of 40 batches never two are alive at once."""
    alive, most = weakref.WeakSet(), []

    def batches():
        generator = torch.Generator().manual_seed(0)
        for number in range(40):
            pictures = torch.rand(4, 3, 32, 32, generator=generator) * 2 - 1
            alive.add(pictures)
            most.append(len(alive))
            yield ReferenceBatch(pictures, [f"colour {number} {i}" for i in range(4)])
            del pictures

    numbers, _ = compare(
        subject,
        batches(),
        sampling=replace(QUICK, num_steps=1, residual_steps=1),
        features=alignment.eyes,
        network=load_network("efficientnet", alignment.eyes),
    )
    assert numbers["redrawn"]["images"] == 160
    assert len(most) == 40
    assert max(most) == 1
