"""Tokens for the generator: encoded once or on the fly, and the same either way."""

from dataclasses import replace

import pytest
import torch

from dcar_edu.runs import Pictures, generator, tokens
from dcar_edu.runs.sources import Mixture
from dcar_edu.runs.tokens import TokenSource
from dcar_edu.team import Team
from dcar_edu.tokenizer import HybridTokenizer

FEW = Pictures("emoji", 2, styles=("3d",), first=9, backgrounds=("white",), mirror=True)
SCENES = Pictures("scenes", styles=("3d",), kinds=("single",))


class Second(Team):
    """The second of two."""

    rank, size = 1, 2


@pytest.fixture
def parts(small_tokenizer):
    encoder = generator.load_text_encoder("letters", length=7)
    return HybridTokenizer.from_pretrained(small_tokenizer), encoder


def source_of(parts, folder, *plans, team=None, **options):
    mixture = Mixture(plans or (FEW, SCENES), 32)
    return TokenSource(mixture, *parts, team or Team(), folder, **options)


def seeded():
    return torch.Generator().manual_seed(4)


def test_once_and_on_the_fly_give_the_same_rows(parts, tmp_path):
    made = source_of(parts, tmp_path)
    assert list(made.kept) == [0]  # scenes have no end
    rows = made.source.draw(17, seeded())
    assert {row.part for row in rows} == {0, 1}
    assert {row.mirrored for row in rows if row.part == 0} == {True, False}
    batch, fly = made.batch(rows), made._encode(rows)
    assert torch.equal(batch.indices, fly.indices)
    assert torch.equal(batch.text_mask, fly.text_mask)
    torch.testing.assert_close(batch.residuals, fly.residuals, atol=2e-3, rtol=1e-3)
    words = batch.text_mask[..., None]
    torch.testing.assert_close(batch.text * words, fly.text * words, atol=2e-3, rtol=1e-3)


def test_a_process_gets_its_rows(parts, tmp_path):
    whole = next(source_of(parts, tmp_path).batches(6, seeded()))
    mine = next(source_of(parts, tmp_path, team=Second()).batches(6, seeded()))
    assert torch.equal(mine.indices, whole.indices[3:])


def test_what_was_encoded_is_not_encoded_again(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "CHUNK", 4)
    first = source_of(parts, tmp_path, FEW)
    files = sorted(tmp_path.rglob("*.safetensors"))
    assert len(files) == -(-len(first.place) // 4) > 2
    encoded = []
    monkeypatch.setattr(
        TokenSource, "_packed", lambda self, rows: encoded.append(rows) or packed(self, rows)
    )
    source_of(parts, tmp_path, FEW)
    assert not encoded
    files[1].unlink()  # as a kill leaves it: some files, and half a one never
    files[2].write_bytes(files[2].read_bytes()[:-5])
    again = source_of(parts, tmp_path, FEW)
    assert len(encoded) == 2
    for name in ("indices", "residuals", "words", "ends"):
        assert torch.equal(getattr(again.kept[0], name), getattr(first.kept[0], name))


packed = TokenSource._packed


def test_processes_take_turns_at_the_files(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "CHUNK", 3)
    waited = []
    team = Second()
    monkeypatch.setattr(team, "total", lambda tensor: waited.append(1) or tensor, raising=False)
    monkeypatch.setattr(tokens._Table, "of", lambda chunks: chunks)
    source_of(parts, tmp_path, replace(FEW, mirror=False), team=team)
    there = sorted(int(path.stem) for path in tmp_path.rglob("*.safetensors"))
    assert there
    assert all(number % 2 for number in there)
    assert len(waited) == -(-len(Mixture((replace(FEW, mirror=False),), 32).data[0]) // 3 // 2)


def test_other_tokens_get_another_folder(parts, tmp_path):
    names = set()
    for plan in (FEW, replace(FEW, mirror=False), replace(FEW, first=8)):
        made = source_of(parts, tmp_path, plan)
        names.add(made._name(0))
    tokenizer, encoder = parts
    with torch.no_grad():
        tokenizer.quantizer.codes[0] += 1
    names.add(source_of((tokenizer, encoder), tmp_path, FEW)._name(0))
    assert len(names) == 4


def test_what_is_encoded_beforehand(parts, tmp_path, monkeypatch):
    """A source that is drawn more often than it is long; a large one, much more often."""
    made = source_of(parts, tmp_path)
    number = len(made.place)
    assert number == 2 * len(made.source.data[0])  # mirrored too
    once, four = (times * number * 3 // 2 for times in (1, 4))  # two of three rows are of it
    assert [made.pays(0, drawn) for drawn in (once - 2, once + 2, None)] == [False, True, True]
    assert not source_of(parts, tmp_path, drawn=once - 2).kept
    monkeypatch.setattr(tokens, "FEW", number - 1)
    assert [made.pays(0, drawn) for drawn in (four - 2, four + 2, None)] == [False, True, False]
    # 4x4 tokens, each an index and 4 channels; 7 words of 12 numbers
    room = number * (16 * (4 + 2 * 4) + 2 * 7 * 12)
    for held, wanted in ((room, True), (room - 1, False)):
        monkeypatch.setattr(tokens, "HELD", held)
        assert made.pays(0, four + 2) is wanted
