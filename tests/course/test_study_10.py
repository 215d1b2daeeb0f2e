"""The study of lesson 10: drawing in parts is drawing, and arms differ by their residuals."""

import pytest
import torch
from torch import Tensor

from dcar_edu import images
from dcar_edu.course.studies import study_10 as study
from dcar_edu.course.studies.study_10 import EXPERIMENTS
from dcar_edu.drawing import seeds
from dcar_edu.generator.training import TokenBatch, begin, losses
from dcar_edu.pipeline import DCAR

PROMPTS = ["a 3D emoji of a wolf on a white background", "a frog", "a 3D emoji of a rocket"]


@pytest.fixture(scope="module")
def model() -> DCAR:
    return DCAR.from_pretrained(study.MODEL)


@pytest.fixture(scope="module")
def drawn(model: DCAR) -> study.Drawn:
    return study.draw(model, PROMPTS, 5)


def test_tokens_and_pictures_are_those_of_generate(model: DCAR, drawn: study.Drawn):
    assert torch.equal(drawn.indices, model.generate_tokens(PROMPTS, seed=5))
    ours = study.decode(model, drawn.indices, None)
    theirs = model.generate(PROMPTS, seed=5, residual_steps=0)
    assert [images.to_pil(one).tobytes() for one in ours] == [one.tobytes() for one in theirs]


def test_residuals_are_those_of_generate_from_the_last_hidden_states(
    model: DCAR, drawn: study.Drawn
):
    # A picture's noise comes from its own seed in generate; here we hand it over.
    sources = seeds(5, 3)
    for source in sources:  # what the twelve steps have drawn from it
        for _ in range(study.STEPS):
            torch.rand(16, 1024, generator=source)
            torch.rand(16, generator=source)
    noise = torch.stack([torch.randn(21, 16, 32, generator=source) for source in sources], dim=1)
    told = {"guidance": study.GUIDANCE, "num_steps": 20, "clip": 1.0, "noise": noise}
    rest = model.generator.sample_residuals(*drawn.hidden, **told)
    rest = rest.transpose(1, 2).reshape(3, 32, 4, 4)
    ours = study.decode(model, drawn.indices, rest)
    theirs = torch.stack([images.from_pil(p) for p in model.generate(PROMPTS, seed=5)])
    assert (ours - theirs).abs().max() < 1.1 / 127.5


def test_chunks_change_nothing(model: DCAR, drawn: study.Drawn, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(study, "CHUNK", 2)
    again = study.draw(model, PROMPTS, 5)
    assert torch.equal(again.indices, drawn.indices)
    for name in ("hidden", "first", "finished"):
        for one, other in zip(getattr(again, name), getattr(drawn, name), strict=True):
            assert one.shape == (3, 16, 256)
            assert torch.allclose(one, other, atol=1e-4)
    rest = study.draw_residuals(model, drawn.hidden, 1)
    parts = study.decode(model, drawn.indices, rest)
    assert torch.allclose(parts, model.tokenizer.decode(drawn.indices, rest), atol=1e-5)


def test_the_three_hidden_states_are_of_three_passes(model: DCAR, drawn: study.Drawn):
    words = model.text_encoder(PROMPTS)
    for place, ids in (
        (drawn.first, torch.full_like(drawn.indices, model.generator.mask_id)),
        (drawn.finished, drawn.indices),
    ):
        with torch.no_grad():
            wanted = model.generator(ids, words.states, words.mask).hidden
            without = model.generator(ids, None, words.mask).hidden
        assert torch.allclose(place[0], wanted, atol=1e-4)
        assert torch.allclose(place[1], without, atol=1e-4)
    assert not torch.allclose(drawn.hidden[0], drawn.first[0], atol=1e-2)
    assert not torch.allclose(drawn.hidden[0], drawn.finished[0], atol=1e-2)


def test_residuals_obey_seed_clip_and_guidance(model: DCAR, drawn: study.Drawn):
    one = study.draw_residuals(model, drawn.hidden, 1)
    assert one.shape == (3, 32, 4, 4)
    assert torch.equal(one, study.draw_residuals(model, drawn.hidden, 1))
    scale = model.generator.config.residual_scale
    assert one.abs().max() <= 1.001 * scale
    for other in (
        study.draw_residuals(model, drawn.hidden, 2),
        study.draw_residuals(model, drawn.hidden, 1, guidance=0.0),
        study.draw_residuals(model, drawn.hidden, 1, clip=None),
    ):
        assert not torch.allclose(one, other, atol=scale / 100)


def test_true_tokens_and_residuals_are_the_tokenizers(model: DCAR):
    _, pictures, _ = study.learnt(3)
    ids, rest = study.encode(model, pictures)
    encoded = model.tokenizer.encode(pictures)
    assert torch.equal(ids, encoded.indices)
    assert torch.allclose(rest, encoded.residuals, atol=1e-5)


def test_learnt_gives_different_concepts_on_one_ground():
    examples, pictures, labels = study.learnt(5)
    assert len({example.label for example in examples}) == len(examples) == len(pictures) == 5
    assert {example.background for example in examples} == {"pale blue"}
    assert len(set(labels)) == 560
    assert {example.label for example in examples} <= set(labels)


def test_blockiness_by_hand():
    ramp = torch.arange(6.0).expand(1, 3, 4, 6) + torch.arange(4.0)[:, None]
    assert study.blockiness(ramp, 2) == pytest.approx(1)
    stairs = (torch.arange(6) // 2 * 3.0).expand(1, 3, 4, 6)  # jumps of 3 at columns 2 and 4
    assert study.blockiness(stairs + 0.5 * ramp, 2) == pytest.approx((3.5 + 0.5) / (0.5 + 0.5))
    rows = (torch.arange(4) // 2 * 3.0)[:, None].expand(1, 3, 4, 6)  # one jump, at row 2
    assert study.blockiness(rows + 0.5 * ramp, 2) == pytest.approx((0.5 + 3.5) / (0.5 + 0.5))


def test_windows_are_full_and_named_by_their_last_step():
    assert study.windows([1.0, 3.0, 5.0, 7.0, 9.0], 2) == {2: 2.0, 4: 6.0}
    assert study.windows([1.0, 3.0, 8.0, 4.0, 5.0, 6.0], 3) == {3: 4.0, 6: 5.0}


def test_fresh_generators_begin_alike_by_seed_and_at_the_known_losses(model: DCAR):
    before = torch.get_rng_state()
    one, same, other = (study.fresh_generator(model, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.tokens.weight, same.tokens.weight)
    assert torch.equal(one.null_text, same.null_text)
    assert not torch.equal(one.tokens.weight, other.tokens.weight)
    examples, pictures, _ = study.learnt(3)
    tokens = model.tokens(pictures, [example.caption for example in examples])
    source = torch.Generator().manual_seed(0)
    token, diffusion, _ = losses(one, tokens, study.training(7, 0), source)
    assert token.item() == pytest.approx(6.9315, abs=1e-3)
    assert diffusion.item() == pytest.approx(1, abs=0.05)


def test_rows_keep_pictures_and_words_together(model: DCAR):
    number = torch.arange(4.0)
    tokens = TokenBatch(
        number.long().reshape(4, 1, 1).expand(4, 2, 3),
        number.reshape(4, 1, 1, 1).expand(4, 5, 2, 3),
        number.reshape(4, 1, 1).expand(4, 6, 7),
        (number > 1)[:, None].expand(4, 6),
    )
    state = begin(study.fresh_generator(model, 0), study.training(5, 3))
    seen: list[Tensor] = []
    for batch, _ in zip(study.rows(tokens, 3, state), range(9), strict=False):
        place = batch.indices[:, 0, 0]
        seen.append(place)
        assert torch.equal(batch.residuals[:, 0, 0, 0], place.float())
        assert torch.equal(batch.text[:, 0, 0], place.float())
        assert torch.equal(batch.text_mask[:, 0], place > 1)
    assert set(torch.cat(seen).tolist()) == {0, 1, 2, 3}


def test_a_perfect_drawing_is_judged_perfect():
    examples, pictures, labels = study.learnt(4)
    judge = study.Judge(examples, pictures, labels)
    perfect = judge(pictures)
    assert perfect["psnr"] == float("inf")
    assert perfect["kid_efficientnet"] == pytest.approx(0, abs=1e-6)
    assert perfect["r1"] >= 0.75
    swapped = judge(pictures.flip(0))
    assert swapped["r1"] == 0
    assert swapped["kid_efficientnet"] != 0


def test_arms_share_the_drawing_and_differ_by_residuals():
    runs = {
        arm: EXPERIMENTS["10_hybrid"].run(arm, 2, "smoke") for arm in EXPERIMENTS["10_hybrid"].arms
    }
    assert len({tuple(found) for found in runs.values()}) == 1
    assert len({found["token_match"] for found in runs.values()}) == 1
    assert len({found["psnr"] for found in runs.values()}) == 4
    assert max(runs, key=lambda arm: runs[arm]["psnr"]) == "true residuals"
    assert runs["discrete"]["seconds_head"] < 1e-3 < runs["hybrid"]["seconds_head"]
    assert {found["pictures"] for found in runs.values()} == {study.CONCEPTS["smoke"]}


def test_the_training_run_reports_both_losses_window_by_window(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(study, "WINDOW", 2)
    found = EXPERIMENTS["10_losses"].run("both", 1, "smoke")
    assert list(found) == [
        f"{name}_{end:05d}" for name in ("token_loss", "diffusion_loss") for end in (2, 4)
    ]
    assert found["token_loss_00002"] == pytest.approx(6.93, abs=0.05)
    assert found == EXPERIMENTS["10_losses"].run("both", 1, "smoke")
