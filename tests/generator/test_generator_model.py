"""The assembled generator: its start, what it may see, and its files."""

import math
from dataclasses import replace

import pytest
import torch

from dcar_edu import checkpoint
from dcar_edu.generator import MaskedGenerator
from dcar_edu.generator.transformer import positions
from dcar_edu.state import parameter_groups


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def differs(a, b):
    return ((a - b).abs().flatten(1).amax(1) > 1e-3).tolist()


def test_it_starts_with_every_code_equally_likely(fresh, indices, text):
    out = fresh(indices, *text)
    assert out.logits.shape == (2, 12, 11)
    assert out.hidden.shape == (2, 12, 16)
    assert not out.logits.any()
    loss = torch.nn.functional.cross_entropy(out.logits.flatten(0, 1), torch.arange(24) % 11)
    assert loss.item() == pytest.approx(math.log(11))
    assert out.hidden.abs().max() > 0.01


def test_adaln_is_zero_in_the_assembled_model(fresh):
    """The generator initialises all linear layers; the head's zeros must come after that."""
    head = fresh.residual_head
    for layer in (*(b.modulation for b in head.blocks), head.output.modulation, head.output.linear):
        assert not layer.weight.any()
        assert not layer.bias.any()
    x, condition = torch.randn(2, 7, 8)
    for block in head.blocks:
        assert torch.equal(block(x, condition), x)
    assert not head(torch.randn(7, 5), torch.arange(7), torch.randn(7, 16)).any()


def test_the_official_start_of_the_head_is_an_option(fresh):
    """It changes the residual head only: the token head stays zero."""
    fresh.start(residual_head="official")
    head = fresh.residual_head
    for layer in (*(b.modulation for b in head.blocks), head.output.modulation, head.output.linear):
        bound = math.sqrt(6 / sum(layer.weight.shape))
        assert bound * 0.9 < layer.weight.abs().max() <= bound
    assert not fresh.head.weight.any()
    fresh.start()
    assert not head.output.linear.weight.any()
    with pytest.raises(ValueError, match="must be 'zero' or 'official', got 'xavier'"):
        fresh.start(residual_head="xavier")


def test_starting_weights(tiny):
    torch.manual_seed(0)
    model = MaskedGenerator(replace(tiny, width=64, mlp_width=96, num_codes=500))
    assert model.tokens.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert model.text[0].weight.std().item() == pytest.approx(0.02, rel=0.15)
    assert model.text[2].weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert model.residual_head.time[0].weight.std().item() == pytest.approx(0.02, rel=0.15)
    bound = math.sqrt(6 / (64 + 96))  # Xavier-uniform
    weight = model.blocks[0].mlp[0].weight
    assert bound * 0.98 < weight.abs().max() <= bound
    assert not any(m.bias.any() for m in model.modules() if isinstance(m, torch.nn.Linear))
    assert model.null_text.std().item() == pytest.approx(12**-0.5, rel=0.3)


def test_null_text_is_a_buffer_that_is_saved(fresh):
    assert "null_text" in fresh.state_dict()
    assert "null_text" not in dict(fresh.named_parameters())
    assert fresh.null_text.shape == (6, 12)


def test_what_stands_under_the_mask_cannot_leak(model, indices, text):
    """Every hidden place holds the same id, so the model sees where, not what."""
    truth = torch.randint(11, (2, 3, 4), generator=torch.Generator().manual_seed(8))
    other = (truth + 1) % 11
    mask = indices % 2 == 0
    seen, seen_other = (
        t.masked_fill(mask, model.mask_id) for t in (truth, other.where(mask, truth))
    )
    assert torch.equal(model(seen, *text).logits, model(seen_other, *text).logits)
    assert model.mask_id == 11
    assert differs(model(truth, *text).logits, model(seen, *text).logits) == [True, True]


def test_padding_words_change_nothing(model, indices, text):
    states, mask = text
    plain = model(indices, states, mask)
    rubbish = states.masked_fill(~mask[..., None], 100.0)
    close(model(indices, rubbish, mask).logits, plain.logits)
    short = model(indices[1:], states[1:, :3], mask[1:, :3])
    close(short.logits, plain.logits[1:])
    spoilt = states.clone()
    spoilt[1, 2] += 1  # the last real word of the second prompt
    assert differs(model(indices, spoilt, mask).logits, plain.logits) == [False, True]


def test_batch_mates_change_nothing(model, indices, text):
    states, mask = text
    both = model(indices, states, mask)
    for i in range(2):
        one = model(indices[i : i + 1], states[i : i + 1], mask[i : i + 1])
        close(one.logits[0], both.logits[i])
        close(one.hidden[0], both.hidden[i])


def test_text_none_is_the_null_text_under_the_same_mask(model, indices, text):
    states, mask = text
    null = model(indices, None, mask)
    close(null.logits, model(indices, model.null_text.expand(2, -1, -1), mask).logits)
    assert differs(null.logits, model(indices, states, mask).logits) == [True, True]
    fewer = torch.arange(6)[None] < torch.tensor([6, 2])[:, None]
    assert differs(model(indices, None, fewer).logits, null.logits) == [False, True]


def test_texts_are_dropped_per_picture(model, indices, text):
    plain, null = model(indices, *text).logits, model(indices, None, text[1]).logits
    out = model(indices, *text, torch.tensor([True, False])).logits
    assert torch.equal(out[0], null[0])
    assert torch.equal(out[1], plain[1])
    assert torch.equal(model(indices, *text, torch.tensor([False, False])).logits, plain)


def test_training_mode_drops_nothing_by_itself(model, indices, text):
    assert torch.equal(model.train()(indices, *text).logits, model.eval()(indices, *text).logits)


@pytest.mark.parametrize(("h", "w"), [(1, 1), (2, 7), (8, 3)])
def test_any_grid(model, text, h, w):
    out = model(torch.zeros(2, h, w, dtype=torch.int64), *text)
    assert out.logits.shape == (2, h * w, 11)


def test_places_matter_in_both_directions(model, text):
    """Equal tokens everywhere: only positions can tell the places apart."""
    logits = model(torch.full((2, 3, 4), 11), *text).logits
    assert len(logits[0].round(decimals=4).unique(dim=0)) == 12


def test_tokens_and_places_are_added_row_by_row(model, indices, text):
    seen = []
    model.blocks[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    model(indices, *text)
    close(seen[0], model.tokens.weight[indices.flatten(1)] + positions(3, 4, 16))


def test_rows_stay_rows(model, indices, text):
    turned = model(indices.transpose(1, 2), *text).logits
    assert differs(turned, model(indices, *text).logits) == [True, True]


def test_words_can_be_read_once(model, indices, text):
    memory = model.read_text(*text)
    again = model.predict(indices, memory)
    assert torch.equal(again.logits, model(indices, *text).logits)


def test_hidden_is_the_raw_output_of_the_last_block(model, indices, text):
    seen = []
    model.blocks[-1].register_forward_hook(lambda _module, _inputs, out: seen.append(out))
    out = model(indices, *text)
    assert torch.equal(out.hidden, seen[0])
    close(out.logits, model.head(torch.nn.functional.layer_norm(seen[0], (16,), eps=1e-6)))


def test_residuals_from_stored_noise_or_a_generator(model):
    hidden = torch.randn(2, 12, 16, generator=torch.Generator().manual_seed(0))
    options = {"guidance": 0.0, "num_steps": 3, "clip": 1.0}
    noise = torch.randn(4, 2, 12, 5, generator=torch.Generator().manual_seed(9))
    drawn = model.sample_residuals(hidden, generator=torch.Generator().manual_seed(9), **options)
    assert drawn.shape == (2, 12, 5)
    assert torch.equal(drawn, model.sample_residuals(hidden, noise=noise, **options))
    flat = model.residual_head.sample(
        hidden.flatten(0, 1), None, noise.flatten(1, 2), guidance=0.0, clip=1.0
    )
    assert torch.equal(drawn, flat.reshape(2, 12, 5))
    assert drawn.abs().max() <= 0.107 + 1e-6
    with pytest.raises(ValueError, match=r"noise must have shape \(4, 2, 12, 5\), got \(3, 2, 12"):
        model.sample_residuals(hidden, noise=noise[1:], **options)
    with pytest.raises(ValueError, match="between 1 and 1000, got 0"):
        model.sample_residuals(hidden, guidance=0.0, num_steps=0, clip=None)


WORDS, MASK = torch.zeros(2, 6, 12), torch.ones(2, 6, dtype=torch.bool)
GRID = torch.zeros(2, 3, 4, dtype=torch.int64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((GRID.flatten(1), WORDS, MASK), r"indices must have shape \(b, h, w\) .*\(2, 12\)"),
        ((GRID[:1], WORDS, MASK), r"one text a picture, got \(1, 3, 4\) and 2 texts"),
        ((GRID, WORDS, MASK.long()), "text_mask must be bool .* got torch.int64"),
        ((GRID, WORDS, MASK & torch.tensor([[True], [False]])), "a real word .* in every row"),
        ((GRID, WORDS, MASK[0]), r"text_mask must be bool \(b, s\).* \(6,\)"),
        ((GRID, torch.zeros(2, 7, 12), torch.ones(2, 7) > 0), "6 words at most, got 7"),
        ((GRID, WORDS[..., :9], MASK), r"text must have shape \(2, 6, 12\), got \(2, 6, 9\)"),
        ((GRID, WORDS[:, :4], MASK), r"text must have shape .* got \(2, 4, 12\).*'minilm'"),
    ],
)
def test_refuses(model, arguments, message):
    with pytest.raises(ValueError, match=message):
        model(*arguments)


def test_save_and_load(model, indices, text, tmp_path):
    model.train().save_pretrained(tmp_path)
    loaded = MaskedGenerator.from_pretrained(tmp_path)
    assert loaded.config == model.config
    assert not loaded.training
    assert torch.equal(loaded(indices, *text).logits, model(indices, *text).logits)
    assert torch.equal(loaded.null_text, model.null_text)


def test_saved_in_16_bit(model, indices, text, tmp_path):
    model.save_pretrained(tmp_path, dtype=torch.bfloat16)
    loaded = MaskedGenerator.from_pretrained(tmp_path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert torch.equal(loaded.head.weight, model.head.weight.bfloat16().float())


@pytest.mark.parametrize(
    ("spoil", "name"), [("missing", "blocks.1.mlp.2.bias"), ("unknown", "blocks.9.bias")]
)
def test_a_weight_too_few_or_too_many_is_refused(model, tmp_path, spoil, name):
    model.save_pretrained(tmp_path)
    tensors = checkpoint.load_tensors(tmp_path)
    if tensors.pop(name, None) is None:
        tensors[name] = torch.zeros(3)
    checkpoint.save_tensors(tmp_path, tensors)
    with pytest.raises(ValueError, match=rf"do not fit .*{spoil} \['{name}'\]"):
        MaskedGenerator.from_pretrained(tmp_path)


def test_only_matrices_of_the_generator_decay(model):
    """Norms, biases and the token table do not."""
    decayed, plain = parameter_groups(model, 0.03)
    names = {id(p): name for name, p in model.named_parameters()}
    spared = {n for n in names.values() if n.endswith("bias") or "norm" in n}
    spared.add("tokens.weight")
    assert {names[id(p)] for p in plain["params"]} == spared
    assert {names[id(p)] for p in decayed["params"]} == set(names.values()) - spared
