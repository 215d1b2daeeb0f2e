"""The quantizer: nearest codes, who learns from what, and float32 whatever happens."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dcar_edu.tokenizer import quantizer as module
from dcar_edu.tokenizer.quantizer import VectorQuantizer, code_usage, straight_through

B, C, H, W, K = 2, 5, 3, 4, 11


def made(normalize=True, commitment=0.25, seed=0):
    """Codes of very different lengths, so that forgetting to normalise one side shows."""
    torch.manual_seed(seed)
    quantizer = VectorQuantizer(K, C, normalize=normalize, commitment=commitment)
    quantizer.codes.data = torch.randn(K, C) * torch.logspace(-1, 1, K)[:, None]
    return quantizer, torch.randn(B, C, H, W) * torch.logspace(-1, 1, W)


def brute_force(quantizer, latents):
    """The nearest code by measuring every distance, one position at a time."""
    codes = quantizer.codes.detach()
    if quantizer.normalize:
        codes = codes / codes.norm(dim=1, keepdim=True)
    found = torch.empty(B, H, W, dtype=torch.int64)
    for b, y, x in torch.cartesian_prod(torch.arange(B), torch.arange(H), torch.arange(W)).tolist():
        one = latents[b, :, y, x]
        one = one / one.norm() if quantizer.normalize else one
        found[b, y, x] = (codes - one).square().sum(1).argmin()
    return found


@pytest.mark.parametrize("normalize", [True, False])
def test_finds_the_nearest_code(normalize):
    quantizer, latents = made(normalize)
    out = quantizer(latents)
    assert torch.equal(out.indices, brute_force(quantizer, latents))
    assert len(out.indices.unique()) > 2
    torch.testing.assert_close(out.quantized, quantizer.look_up(out.indices))
    lengths = out.latents.norm(dim=1)
    assert torch.allclose(lengths, torch.ones(B, H, W)) == normalize


def test_chunks_do_not_change_the_answer(monkeypatch):
    quantizer, latents = made()
    whole = quantizer(latents).indices
    for rows in (1, 5, 7):
        monkeypatch.setattr(module, "CHUNK", rows * K)
        assert torch.equal(quantizer(latents).indices, whole)
    assert quantizer.nearest(torch.empty(0, C)).shape == (0,)


class LargestTensor(TorchDispatchMode):
    """How many numbers the largest tensor holds that any operation inside gave back."""

    numbers = 0

    def __torch_dispatch__(self, function, kinds, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return result


@pytest.mark.parametrize(("vectors", "codes"), [(500, 11), (50, 300), (40, 4000)])
def test_memory_does_not_grow_with_the_product(monkeypatch, vectors, codes):
    """Never more than a chunk, one row of distances, or the inputs: not ``n * K``."""
    monkeypatch.setattr(module, "CHUNK", 1000)
    quantizer = VectorQuantizer(codes, C)
    latents = torch.randn(vectors, C)
    with LargestTensor() as seen:
        found = quantizer.nearest(latents)
    assert len(found) == vectors
    assert seen.numbers <= max(1000, codes * C, vectors * C) < vectors * codes


def test_a_tie_goes_to_the_first_code():
    quantizer = VectorQuantizer(4, 2)
    quantizer.codes.data = torch.tensor([[0.0, -1], [3, 0], [1, 0], [2, 0]])
    assert quantizer.nearest(torch.tensor([[5.0, 0]])).tolist() == [1]


@given(seed=st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
def test_round_trip_of_codes(seed):
    """Whatever the codes: a code is its own nearest code."""
    quantizer, _ = made(seed=seed)
    indices = torch.randint(K, (B, H, W), generator=torch.Generator().manual_seed(seed))
    assert torch.equal(quantizer(quantizer.look_up(indices)).indices, indices)


def test_straight_through_has_the_value_of_codes_and_the_gradient_of_latents():
    latents, codes = (torch.randn(B, C, H, W, requires_grad=True) for _ in range(2))
    out = straight_through(latents, codes)
    torch.testing.assert_close(out, codes)
    weights = torch.randn_like(out)
    to_latents, to_codes = torch.autograd.grad(
        (weights * out).sum(), [latents, codes], allow_unused=True
    )
    assert torch.equal(to_latents, weights)
    assert to_codes is None


def test_losses_pull_codes_fully_and_the_encoder_by_beta():
    """The gradients, not the value: a beta on the wrong term has the same value."""
    quantizer, latents = made(normalize=False)
    latents.requires_grad_()
    out = quantizer(latents)
    to_latents, to_codes = torch.autograd.grad(out.loss, [latents, quantizer.codes])
    with torch.no_grad():
        gap = latents - quantizer.look_up(out.indices)
        torch.testing.assert_close(to_latents, 0.25 * 2 * gap / latents.numel())
        expected = torch.zeros(K, C)
        flat = gap.permute(0, 2, 3, 1).reshape(-1, C)
        expected.index_add_(0, out.indices.flatten(), -2 * flat / latents.numel())
        torch.testing.assert_close(to_codes, expected)
        torch.testing.assert_close(out.loss, 1.25 * gap.square().mean())


def test_on_the_sphere_beta_scales_only_the_encoders_gradient():
    gradients = {}
    for beta in (0.25, 1.0):
        quantizer, latents = made(commitment=beta)
        latents.requires_grad_()
        gradients[beta] = torch.autograd.grad(quantizer(latents).loss, [latents, quantizer.codes])
    torch.testing.assert_close(gradients[0.25][0], 0.25 * gradients[1.0][0])
    torch.testing.assert_close(gradients[0.25][1], gradients[1.0][1])
    assert gradients[1.0][1].abs().max() > 0


def test_the_pictures_gradient_passes_the_codes_by():
    quantizer, latents = made()
    latents.requires_grad_()
    weights = torch.randn(B, C, H, W)
    (weights * quantizer(latents).quantized).sum().backward()
    unit = torch.nn.functional.normalize(latents, dim=1)
    (expected,) = torch.autograd.grad((weights * unit).sum(), latents)
    torch.testing.assert_close(latents.grad, expected)
    assert quantizer.codes.grad is None


def test_float32_under_autocast_and_for_half_inputs():
    quantizer, latents = made()
    plain = quantizer(latents)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = quantizer(latents)
        again = quantizer.look_up(cast.indices)
    for a, b in zip(vars(plain).values(), vars(cast).values(), strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b)
    assert again.dtype == torch.float32
    assert quantizer(latents.bfloat16()).quantized.dtype == torch.float32


def test_restart_puts_codes_at_different_latents():
    quantizer, _ = made()
    before = quantizer.codes.detach().clone()
    vectors, rows = 9 * torch.randn(6, C), torch.tensor([1, 4, 7])
    quantizer.restart(rows, vectors, torch.Generator().manual_seed(3))
    moved = quantizer.codes.detach()
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    places = torch.cdist(moved[rows], unit).argmin(1)
    assert len(places.unique()) == 3
    torch.testing.assert_close(moved[rows], unit[places])
    kept = [row for row in range(K) if row not in rows]
    assert torch.equal(moved[kept], before[kept])
    again, _ = made()
    again.restart(rows, vectors, torch.Generator().manual_seed(3))
    assert torch.equal(again.codes, quantizer.codes)


def test_restart_takes_no_latent_twice():
    quantizer, _ = made()
    quantizer.restart(torch.arange(K), torch.randn(K, C), torch.Generator().manual_seed(0))
    assert len(quantizer.codes.detach().unique(dim=0)) == K


def test_restart_needs_enough_vectors():
    quantizer, _ = made()
    with pytest.raises(ValueError, match="as many vectors as codes, got 2 for 3 codes"):
        quantizer.restart(torch.arange(3), torch.randn(2, C), torch.Generator())


@pytest.mark.parametrize(
    ("indices", "usage", "perplexity"),
    [([0, 0, 1, 1], 0.5, 2.0), ([3, 3, 3], 0.25, 1.0), ([0, 1, 2, 3], 1.0, 4.0)],
)
def test_code_usage_golden(indices, usage, perplexity):
    found = code_usage(torch.tensor(indices), num_codes=4)
    assert (found.usage, found.perplexity) == (usage, perplexity)


def test_code_usage_counts_shares():
    """Shares 3/4 and 1/4: exp of the entropy, by hand."""
    found = code_usage(torch.tensor([[2, 2], [2, 0]]), num_codes=8)
    assert found.perplexity == pytest.approx((4 / 3) ** 0.75 * 4**0.25, abs=1e-6)


def test_code_usage_of_nothing():
    with pytest.raises(ValueError, match="at least one index, got none"):
        code_usage(torch.empty(0, dtype=torch.int64), 4)
