"""The multi-scale quantizer: identities, order, its codebook, and files."""

import pytest
import torch

from dcar_edu.tokenizer.multiscale import (
    MultiScaleConfig,
    MultiScaleQuantizer,
    pool,
    spread,
)

B, C, SIZES = 3, 5, (1, 2, 4)


@pytest.fixture
def quantizer():
    made = MultiScaleQuantizer(MultiScaleConfig(num_codes=7, channels=C, sizes=SIZES))
    made.codes.copy_(torch.randn(7, C, generator=torch.Generator().manual_seed(1)))
    return made


@pytest.fixture
def latents():
    return torch.randn(B, C, 4, 4, generator=torch.Generator().manual_seed(2))


def test_codes_and_leftover_are_the_latents(quantizer, latents):
    found = quantizer(latents)
    assert [tuple(ids.shape) for ids in found.ids] == [(B, 1, 1), (B, 2, 2), (B, 4, 4)]
    assert torch.equal(found.quantized, found.sums[-1])
    torch.testing.assert_close(found.sums[-1] + found.leftover, latents)
    spreads = [spread(quantizer.quantizer.look_up(ids), 4) for ids in found.ids]
    torch.testing.assert_close(sum(spreads), found.quantized)


def test_ids_alone_give_the_sums(quantizer, latents):
    found = quantizer(latents)
    for count in (1, 2, 3):
        sums = quantizer.sums(found.ids[:count])
        assert len(sums) == count
        for again, before in zip(sums, found.sums, strict=False):
            torch.testing.assert_close(again, before)


def test_every_scale_takes_the_nearest_code_of_what_is_left(quantizer, latents):
    """Against a plain loop over every place of every scale."""
    found, rest = quantizer(latents), latents.clone()
    for ids, size in zip(found.ids, SIZES, strict=True):
        step = 4 // size
        for b in range(B):
            for y in range(size):
                for x in range(size):
                    square = rest[b, :, y * step : (y + 1) * step, x * step : (x + 1) * step]
                    distances = (quantizer.codes - square.mean((1, 2))).square().sum(1)
                    assert ids[b, y, x] == distances.argmin()
        rest = rest - spread(quantizer.quantizer.look_up(ids), 4)
    torch.testing.assert_close(rest, found.leftover)


def test_one_size_is_a_plain_quantizer(latents):
    plain = MultiScaleQuantizer(MultiScaleConfig(7, C, (4,)))
    plain.codes.copy_(torch.randn(7, C, generator=torch.Generator().manual_seed(3)))
    found = plain(latents)
    flat = latents.permute(0, 2, 3, 1).reshape(-1, C)
    nearest = torch.cdist(flat, plain.codes).argmin(1)
    assert torch.equal(found.ids[0].flatten(), nearest)
    assert torch.equal(found.quantized.permute(0, 2, 3, 1).reshape(-1, C), plain.codes[nearest])


def test_a_flat_picture_needs_the_coarsest_scale_alone(quantizer):
    with torch.no_grad():
        quantizer.codes[4] = 0
    flat = quantizer.codes[2][None, :, None, None].expand(1, C, 4, 4).contiguous()
    found = quantizer(flat)
    assert found.ids[0].item() == 2
    assert (found.ids[1] == 4).all()
    assert (found.ids[2] == 4).all()
    assert found.leftover.abs().max() < 1e-6


def test_pooling_and_spreading_by_hand():
    grid = torch.arange(16.0).view(1, 1, 4, 4)
    assert pool(grid, 1).item() == 7.5
    assert torch.equal(pool(grid, 4), grid)
    assert torch.equal(spread(grid, 4), grid)
    assert spread(torch.tensor([[[[3.0]]]]), 4).unique().tolist() == [3.0]
    row = spread(torch.tensor([[[[0.0, 4.0], [0.0, 4.0]]]]), 4)[0, 0, 1]
    assert row.tolist() == [0.0, 1.0, 3.0, 4.0]


def test_fitting_lowers_the_leftover_and_leaves_no_code_behind():
    source = torch.Generator().manual_seed(4)
    centres = torch.randn(6, C, generator=source)
    chosen = torch.randint(6, (40, 4, 4), generator=source)
    latents = centres[chosen].permute(0, 3, 1, 2) + 0.05 * torch.randn(
        40, C, 4, 4, generator=source
    )
    for sizes in ((4,), SIZES):
        quantizer = MultiScaleQuantizer(MultiScaleConfig(48, C, sizes))
        errors = list(quantizer.fit(latents, rounds=8, generator=torch.Generator().manual_seed(5)))
        assert len(errors) == 9
        assert errors[-1] < 0.8 * errors[0]
        assert errors[-1] == pytest.approx(quantizer(latents).leftover.square().mean().item())
        assert errors[-1] < 0.1 * latents.square().mean()
        used = torch.cat([ids.flatten() for ids in quantizer(latents).ids]).unique()
        assert len(used) >= 46


def test_a_fitted_code_is_the_mean_of_what_chose_it():
    source = torch.Generator().manual_seed(6)
    latents = torch.randn(30, C, 4, 4, generator=source)
    quantizer = MultiScaleQuantizer(MultiScaleConfig(3, C, SIZES))
    *_, before, _ = quantizer.fit(latents, rounds=60, generator=source)
    found = quantizer(latents)
    assert before == pytest.approx(found.leftover.square().mean().item(), rel=1e-3)
    rest, vectors = latents, []
    for size, total in zip(SIZES, found.sums, strict=True):
        vectors.append(pool(rest, size).permute(0, 2, 3, 1).reshape(-1, C))
        rest = latents - total
    rows, vectors = torch.cat([i.flatten() for i in found.ids]), torch.cat(vectors)
    assert (quantizer.codes[0] == 0).all()
    for code in (1, 2):
        mean = vectors[rows == code].mean(0)
        assert (mean - quantizer.codes[code]).abs().max() < 0.05


def test_rounding_never_makes_a_vector_longer(latents):
    """Three codes for everything: without a code for nothing, scales would overshoot."""
    quantizer = MultiScaleQuantizer(MultiScaleConfig(3, C, SIZES))
    errors = list(quantizer.fit(latents, rounds=40, generator=torch.Generator().manual_seed(9)))
    assert max(errors) < latents.square().mean()
    found = quantizer(latents)
    short = found.leftover.square().sum(1) <= (latents - found.sums[-2]).square().sum(1) + 1e-5
    assert short.all()


def test_one_seed_gives_one_codebook(latents):
    books = []
    for seed in (7, 7, 8):
        quantizer = MultiScaleQuantizer(MultiScaleConfig(6, C, SIZES))
        list(quantizer.fit(latents, rounds=2, generator=torch.Generator().manual_seed(seed)))
        books.append(quantizer.codes.clone())
    assert torch.equal(books[0], books[1])
    assert not torch.equal(books[0], books[2])


def test_saved_and_loaded_it_gives_the_same_ids(quantizer, latents, tmp_path):
    again = MultiScaleQuantizer.from_pretrained(quantizer.save_pretrained(tmp_path / "q"))
    assert sorted(path.name for path in (tmp_path / "q").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert again.config == quantizer.config
    for ours, theirs in zip(quantizer(latents).ids, again(latents).ids, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("sizes", [(), (2, 1), (0, 4), (2, 2, 4)])
def test_sizes_must_rise(sizes):
    with pytest.raises(ValueError, match="sizes must rise"):
        MultiScaleConfig(7, C, sizes)


def test_what_does_not_fit_is_refused(quantizer, latents):
    for wrong in (latents[:, :4], latents[..., :3], latents[0]):
        with pytest.raises(ValueError, match=r"latents must have shape \(b, 5, 4, 4\)"):
            quantizer(wrong)
    ids = quantizer(latents).ids
    for wrong in ((), ids[1:], ids[::-1], (*ids, ids[0])):
        with pytest.raises(ValueError, match="ids must be grids"):
            quantizer.sums(wrong)
    few = MultiScaleQuantizer(MultiScaleConfig(200, C, SIZES))
    with pytest.raises(ValueError, match="at least as many"):
        list(few.fit(latents, rounds=1, generator=torch.Generator()))
