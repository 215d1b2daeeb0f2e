"""The study of lesson 07: what is measured, what is trained, and that the two arms differ."""

import math
from types import SimpleNamespace

import pytest
import torch

from dcar_edu.course.budgets import budget
from dcar_edu.course.studies import study_07 as study
from dcar_edu.generator.config import GeneratorConfig
from dcar_edu.generator.model import MaskedGenerator
from dcar_edu.generator.training import TokenBatch, begin, train_generator

CODES, PICTURES = 11, 5
PLAN = SimpleNamespace(steps=24, batch=3)


@pytest.fixture
def tokens() -> TokenBatch:
    source = torch.Generator().manual_seed(0)
    return TokenBatch(
        torch.randint(CODES, (PICTURES, 2, 3), generator=source),
        torch.randn(PICTURES, 4, 2, 3, generator=source),
        torch.randn(PICTURES, 7, 10, generator=source),
        torch.ones(PICTURES, 7, dtype=torch.bool),
    )


def tiny(seed: int = 0) -> MaskedGenerator:
    config = GeneratorConfig.preset(
        "nano",
        **{"width": 16, "depth": 1, "heads": 2, "mlp_width": 24, "num_codes": CODES},
        **{"text_width": 10, "text_length": 7, "head_width": 8, "head_depth": 1, "grid": (2, 3)},
        latent_channels=4,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskedGenerator(config)


def oracle(answer: torch.Tensor) -> SimpleNamespace:
    """A model that gives the same ids whatever it is shown, and remembers what that was."""
    shown = []

    def call(indices: torch.Tensor, text: torch.Tensor, text_mask: torch.Tensor) -> SimpleNamespace:
        shown.append(indices)
        logits = 9.0 * torch.nn.functional.one_hot(answer.flatten(1), CODES)
        return SimpleNamespace(logits=logits)

    class Oracle:
        mask_id, device = CODES, torch.device("cpu")
        __call__ = staticmethod(call)

    return SimpleNamespace(model=Oracle(), shown=shown)


def test_the_fixed_mask_is_fixed_and_hides_what_was_asked_for():
    assert torch.equal(study.fixed_mask(5), study.fixed_mask(5))
    assert study.fixed_mask(5).shape == (5, 16)
    assert len(set(study.fixed_mask(40).sum(1).tolist())) > 5
    for hidden in study.HIDDEN:
        mask = study.fixed_mask(7, hidden)
        assert mask.sum(1).tolist() == [hidden] * 7
        assert hidden == 16 or not (mask == mask[0]).all()
    assert study.fixed_mask(2, 3, tokens=6).sum(1).tolist() == [3, 3]


def test_only_visible_ids_are_shown(tokens: TokenBatch):
    seer, mask = oracle(tokens.indices), study.fixed_mask(PICTURES, 4, tokens=6)
    study.guesses(seer.model, tokens, mask)
    shown = seer.shown[0].flatten(1)
    assert (shown[mask] == CODES).all()
    assert torch.equal(shown[~mask], tokens.indices.flatten(1)[~mask])


def test_accuracy_counts_hidden_tokens_alone(tokens: TokenBatch):
    answer = tokens.indices.clone().flatten(1)
    mask = study.fixed_mask(PICTURES, 4, tokens=6)
    wrong = mask & (torch.arange(6) < 2)
    other = wrong | (~mask & (torch.arange(6) == 4))  # some visible ones are wrong, some right
    answer[other] = (answer[other] + 1) % CODES
    model = oracle(answer).model
    assert study.look(model, tokens, mask)["accuracy"] == pytest.approx(
        1 - wrong.sum().item() / mask.sum().item()
    )
    filled = study.fill(model, tokens, mask)
    assert filled.shape == (PICTURES, 2, 3)
    assert torch.equal(filled.flatten(1)[~mask], tokens.indices.flatten(1)[~mask])
    assert torch.equal(filled.flatten(1)[mask], answer[mask])


def test_a_blind_model_costs_the_log_of_the_codes(tokens: TokenBatch):
    mask = study.fixed_mask(PICTURES, 4, tokens=6)
    assert study.look(tiny(), tokens, mask)["loss"] == pytest.approx(math.log(CODES), abs=1e-5)


def test_nearness_is_the_cosine_where_the_guess_is_wrong(tokens: TokenBatch):
    angles = torch.arange(CODES) * 2 * math.pi / CODES
    codes = 3 * torch.stack([angles.cos(), angles.sin()], dim=1)
    mask = study.fixed_mask(PICTURES, 4, tokens=6)
    answer = tokens.indices.flatten(1).clone()
    answer[:, :2] = (answer[:, :2] + 1) % CODES
    found = study.near(oracle(answer).model, tokens, mask, codes)
    assert len(found) == mask[:, :2].sum()
    assert torch.allclose(found, torch.tensor(math.cos(2 * math.pi / CODES)), atol=1e-5)
    assert len(study.near(oracle(tokens.indices).model, tokens, mask, codes)) == 0


def test_training_learns_and_averages(tokens: TokenBatch):
    model, mask = tiny(), study.fixed_mask(PICTURES, 4, tokens=6)
    steps = [step for step, _ in study.train(model, tokens, PLAN, 0)]
    assert steps == list(range(1, 25))
    assert study.look(model, tokens, mask)["loss"] < math.log(CODES) - 0.05


def test_training_is_the_library_s_without_the_residual_head(tokens: TokenBatch):
    one, two = tiny(), tiny()
    shown: list[tuple] = []
    for model in (one, two):
        model.register_forward_pre_hook(lambda _, arguments: shown.append(arguments))
    next(study.train(one, tokens, PLAN, 3))
    config = study.training(PLAN, 3)
    assert (config.steps, config.warmup_steps, config.diffusion_weight) == (24, 3, 0)
    state = begin(two, config)
    rows = torch.randint(PICTURES, (3,), generator=state.generator)
    next(train_generator(two, [study.rows_of(tokens, rows)], config, state=state))
    for mine, theirs in zip(*shown, strict=True):  # ids, text, its mask, dropped texts
        assert torch.equal(mine, theirs)
    assert torch.allclose(one.head.weight, two.head.weight, atol=1e-6)
    assert not torch.equal(one.head.weight, tiny().head.weight)
    before = tiny().residual_head.state_dict()
    assert all(torch.equal(v, before[k]) for k, v in one.residual_head.state_dict().items())


def test_the_small_generator_depends_on_seed_and_tokenizer():
    config = SimpleNamespace(residual_std=0.09, num_codes=CODES, latent_channels=4)
    tokenizer = SimpleNamespace(config=config, fingerprint=lambda: "abc")
    before = torch.get_rng_state()
    one, same, other = (study.small_generator(tokenizer, seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.tokens.weight, same.tokens.weight)
    assert not torch.equal(one.tokens.weight, other.tokens.weight)
    assert one.config.tokenizer_fingerprint == "abc"
    assert (one.config.num_codes, one.config.latent_channels) == (CODES, 4)
    assert one.config.residual_scale == 0.09
    config.residual_std = None
    with pytest.raises(ValueError, match=r"residual_std\), got None. Run measure_latents"):
        study.small_generator(tokenizer, 0)


def test_the_arms_learn_from_few_and_from_all():
    few, found = study.learnt_pictures(8), study.EXPERIMENTS["07_masked"]
    assert found.arms == ("few emoji", "all emoji")
    assert len(few) == 8
    assert {e.style for e in few.examples()} == {"3d"}
    assert {e.background for e in few.examples()} == {"pale blue"}
    assert "wolf" in {e.label for e in few.examples()}


def test_a_run_reports_the_way_and_the_end(monkeypatch, tokens: TokenBatch):
    asked = []

    def shortened(part: str, concepts: int) -> TokenBatch:
        asked.append((part, concepts))
        source = torch.Generator().manual_seed(len(asked))
        ids = torch.randint(CODES, (PICTURES, 4, 4), generator=source)
        return TokenBatch(ids, tokens.residuals, tokens.text, tokens.text_mask)

    shipped = SimpleNamespace(
        tokenizer=SimpleNamespace(quantizer=SimpleNamespace(codes=torch.randn(CODES, 4)))
    )
    monkeypatch.setattr(study, "_tokens", shortened)
    monkeypatch.setattr(study, "_shipped", lambda: shipped)
    monkeypatch.setattr(study, "small_generator", lambda tokenizer, seed: tiny(seed))
    runs = {
        arm: study.EXPERIMENTS["07_masked"].run(arm, 0, "smoke")
        for arm in study.EXPERIMENTS["07_masked"].arms
    }
    assert asked == [("few", 8), ("unseen", 8), ("all", 16), ("unseen", 8)]
    way = {f"{name}_{step}" for name in ("loss", "accuracy") for step in (0, 3, 6)}
    way |= {"raw_accuracy_3", "raw_accuracy_6", "cosine_learnt_0", "cosine_unseen_0"}
    end = {f"{name}_{hidden}" for name in ("learnt", "unseen") for hidden in study.HIDDEN}
    for found in runs.values():
        assert set(found) == way | end
        assert found["loss_0"] == pytest.approx(math.log(CODES), abs=1e-3)
    assert runs["few emoji"] != runs["all emoji"]
    asked.clear()
    judged, model = shortened("few", 8), tiny(0)
    *_, (_, average) = study.train(model, judged, budget("07", "smoke"), 0)
    averaged, raw = (study.look(m, judged, study.fixed_mask(5))["loss"] for m in (average, model))
    assert runs["few emoji"]["loss_6"] == pytest.approx(averaged, abs=6e-5)
    assert averaged != pytest.approx(raw, abs=2e-4)
