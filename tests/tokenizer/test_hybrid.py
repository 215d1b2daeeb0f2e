"""The whole tokenizer: two paths, one latent space, and files that only fit each other."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from dcar_edu import checkpoint
from dcar_edu.tokenizer import HybridTokenizer


@pytest.mark.parametrize(("height", "width"), [(4, 4), (8, 12), (20, 4), (36, 8)])
def test_any_multiple_of_f(tokenizer, height, width):
    """Up to 18 positions in the attention and 144 in the middle: both of its forms."""
    pictures = torch.rand(2, 3, height, width) * 2 - 1
    encoded = tokenizer.encode(pictures)
    grid = (height // 4, width // 4)
    assert encoded.indices.shape == (2, *grid)
    assert encoded.indices.dtype == torch.int64
    for part in (encoded.latents, encoded.quantized, encoded.residuals):
        assert part.shape == (2, 4, *grid)
    drawn = tokenizer.decode(encoded.indices, encoded.residuals)
    assert drawn.shape == pictures.shape
    assert drawn.abs().max() <= 1


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 3, 8, 10), r"must be multiples of 4, got 8x10. Resize or crop, for example to 8x8"),
        ((2, 3, 2, 8), r"must be multiples of 4, got 2x8. Resize or crop, for example to 4x8"),
        ((2, 3, 0, 8), r"must be multiples of 4, got 0x8"),
        ((3, 8, 8), r"must have shape \(b, 3, H, W\), got \(3, 8, 8\)"),
        ((2, 1, 8, 8), r"must have shape \(b, 3, H, W\), got \(2, 1, 8, 8\)"),
        ((2, 4, 8, 8), r"\(2, 4, 8, 8\). .* exactly red, green and blue"),
        ((0, 3, 8, 8), r"at least one picture, got an empty batch \(0, 3, 8, 8\)"),
    ],
)
@pytest.mark.parametrize("call", ["encode", "forward"])
def test_wrong_shapes_are_refused(tokenizer, call, shape, message):
    with pytest.raises(ValueError, match=message):
        handed(tokenizer, call, torch.zeros(shape))


def handed(tokenizer, call, pictures):
    return tokenizer.encode(pictures) if call == "encode" else tokenizer(pictures, "discrete")


@pytest.mark.parametrize("call", ["encode", "forward"])
def test_wrong_values_are_refused(tokenizer, images, call):
    pixels = (127.5 * (images + 1)).to(torch.uint8)
    with pytest.raises(ValueError, match=r"floats in \[-1, 1\], got torch.uint8. Convert pixels"):
        handed(tokenizer, call, pixels)
    for wrong in (torch.nan, -torch.inf):
        spoiled = images.clone()
        spoiled[1, 2, 7, 11] = wrong
        with pytest.raises(
            ValueError, match=r"must be finite, got NaN or .* pictures \[1\] of the"
        ):
            handed(tokenizer, call, spoiled)


def test_pictures_in_another_precision_are_read(tokenizer, images):
    want = tokenizer.encode(images)
    assert torch.equal(tokenizer.encode(images.double()).latents, want.latents)
    half = tokenizer.encode(images.half())
    assert half.latents.dtype == torch.float32
    torch.testing.assert_close(half.latents, want.latents, atol=0.02, rtol=0.02)


def test_latents_are_quantized_plus_residuals(tokenizer, images):
    encoded = tokenizer.encode(images)
    assert torch.equal(encoded.residuals, encoded.latents - encoded.quantized)
    torch.testing.assert_close(encoded.latents, encoded.quantized + encoded.residuals)
    torch.testing.assert_close(encoded.latents.norm(dim=1), torch.ones(2, 2, 3))
    assert encoded.residuals.abs().max() > 0.01
    assert torch.equal(encoded.quantized, tokenizer.quantizer.look_up(encoded.indices))


def test_the_hybrid_path_is_the_continuous_path(tokenizer, images):
    encoded = tokenizer.encode(images)
    hybrid = tokenizer.decode(encoded.indices, encoded.residuals)
    torch.testing.assert_close(hybrid, tokenizer.decode_latents(encoded.latents))
    discrete = tokenizer.decode(encoded.indices)
    torch.testing.assert_close(discrete, tokenizer.decode_latents(encoded.quantized))
    torch.testing.assert_close(
        tokenizer.decode(encoded.indices, torch.zeros_like(encoded.residuals)), discrete
    )
    assert (hybrid - discrete).abs().max() > 1e-3


def test_pictures_do_not_see_their_neighbours(tokenizer, images):
    both = tokenizer.encode(images)
    drawn = tokenizer.decode(both.indices, both.residuals)
    for i in range(2):
        one = tokenizer.encode(images[i : i + 1])
        torch.testing.assert_close(one.latents[0], both.latents[i], atol=1e-5, rtol=1e-4)
        alone = tokenizer.decode(one.indices, one.residuals)
        torch.testing.assert_close(alone[0], drawn[i], atol=1e-5, rtol=1e-4)


def test_decode_clips(tokenizer):
    latents = 100 * torch.randn(1, 4, 2, 3, generator=torch.Generator().manual_seed(0))
    assert tokenizer.decoder(latents).abs().max() > 1
    assert tokenizer.decode_latents(latents).abs().max() == 1


GRID = (1, 2, 3)


@pytest.mark.parametrize(
    ("indices", "residuals", "message"),
    [
        (torch.zeros(2, 3, dtype=torch.int64), None, r"must be integers \(b, h, w\), got"),
        (torch.zeros(GRID), None, r"must be integers \(b, h, w\), got torch.float32"),
        (torch.full(GRID, 7), None, r"must lie in 0\.\.6, got 7\.\.7\. 7 itself is the mask"),
        (torch.full(GRID, -1), None, r"must lie in 0\.\.6, got -1\.\.-1"),
        (torch.zeros(0, 2, 3).long(), None, r"at least one code, got shape \(0, 2, 3\)"),
        (torch.full(GRID, 1), torch.zeros(1, 4, 3, 2), r"shape \(1, 4, 2, 3\) to fit the indices"),
        (torch.full(GRID, 1), torch.zeros(1, 6, 4), r"shape \(1, 4, 2, 3\) to fit .* \(1, 6, 4\)"),
    ],
)
def test_decode_refuses(tokenizer, indices, residuals, message):
    with pytest.raises(ValueError, match=message):
        tokenizer.decode(indices, residuals)


@pytest.mark.parametrize("path", ["continuous", "discrete"])
def test_forward_takes_the_named_path(tokenizer, images, path):
    made = tokenizer(images, path)
    encoded = tokenizer.encode(images)
    latents = encoded.latents if path == "continuous" else encoded.quantized
    assert made.path == path
    torch.testing.assert_close(made.images, tokenizer.decoder(latents))
    assert torch.equal(made.middle.indices, encoded.indices)


def test_alternate_path_is_one_fair_draw_a_batch(tokenizer):
    """400 draws have a standard deviation of 10; 40 is a bound of four of them."""
    tokenizer.encoder, tokenizer.decoder = nn.Conv2d(3, 4, 4, 4), nn.Conv2d(4, 3, 1)
    pictures, source = torch.randn(3, 3, 4, 4), torch.Generator().manual_seed(0)
    taken = [tokenizer(pictures, "alternate", source).path for _ in range(400)]
    assert abs(taken.count("continuous") - 200) <= 40
    once = torch.Generator().manual_seed(0)
    for _ in range(400):
        torch.rand((), generator=once)
    assert torch.equal(once.get_state(), source.get_state())
    again = torch.Generator().manual_seed(0)
    assert [tokenizer(pictures, "alternate", again).path for _ in range(20)] == taken[:20]


def test_alternate_path_ignores_other_random_sources(tokenizer, images):
    state = torch.get_rng_state()
    tokenizer(images, "alternate", torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("path", ["alternate", "hybrid"])
def test_forward_refuses(tokenizer, images, path):
    with pytest.raises(ValueError, match=f"path must be one of .* got '{path}' and None"):
        tokenizer(images, path)


@pytest.mark.parametrize("shard", [None, 500])
def test_save_and_load(tokenizer, images, tmp_path, monkeypatch, shard):
    if shard:
        monkeypatch.setattr(checkpoint, "SHARD_BYTES", shard)
    tokenizer.config = replace(tokenizer.config, residual_std=0.125)
    tokenizer.train().save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1 or not shard
    loaded = HybridTokenizer.from_pretrained(tmp_path)
    assert loaded.config == tokenizer.config
    assert not loaded.training
    assert loaded.fingerprint() == tokenizer.fingerprint()
    a, b = tokenizer.eval().encode(images), loaded.encode(images)
    assert torch.equal(a.latents, b.latents)
    drawn = [t.decode(a.indices, a.residuals) for t in (tokenizer, loaded)]
    assert torch.equal(*drawn)


def test_saved_in_16_bit_it_is_half_as_large_and_reads_the_same(tokenizer, images, tmp_path):
    tokenizer.save_pretrained(tmp_path / "full")
    tokenizer.save_pretrained(tmp_path / "half", dtype=torch.bfloat16)
    sizes = [
        sum(t.numel() * t.element_size() for t in checkpoint.load_tensors(tmp_path / n).values())
        for n in ("full", "half")
    ]
    assert sizes[1] < 0.52 * sizes[0]
    loaded = HybridTokenizer.from_pretrained(tmp_path / "half")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert loaded.fingerprint() == tokenizer.fingerprint()
    gap = loaded.encode(images).latents - tokenizer.encode(images).latents
    assert 0 < gap.abs().max() < 0.1


def test_fingerprint_names_encoder_and_codes_only(tokenizer):
    name = tokenizer.fingerprint()
    assert len(name) == 16
    nn.init.normal_(next(tokenizer.decoder.parameters()))
    tokenizer.decoder.train()(torch.randn(1, 4, 2, 3))  # moves BatchNorm averages too
    assert tokenizer.fingerprint() == name
    nn.init.normal_(tokenizer.quantizer.codes)
    other = tokenizer.fingerprint()
    nn.init.normal_(next(tokenizer.encoder.parameters()))
    assert len({name, other, tokenizer.fingerprint()}) == 3


def test_loading_a_config_of_another_width_is_refused(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    text = (tmp_path / "config.json").read_text().replace('"num_codes": 7', '"num_codes": 8')
    (tmp_path / "config.json").write_text(text)
    message = r"do not fit HybridTokenizer: .*quantizer.codes \(7, 4\) instead of \(8, 4\)"
    with pytest.raises(ValueError, match=message):
        HybridTokenizer.from_pretrained(tmp_path)


@pytest.mark.parametrize("spoil", ["missing", "unknown"])
def test_a_weight_too_few_or_too_many_is_refused(tokenizer, tmp_path, spoil):
    tokenizer.save_pretrained(tmp_path)
    tensors = checkpoint.load_tensors(tmp_path)
    if spoil == "missing":
        del tensors["decoder.0.conv.bias"]
    else:
        tensors["decoder.99.bias"] = torch.zeros(3)
    checkpoint.save_tensors(tmp_path, tensors)
    name = "decoder.0.conv.bias" if spoil == "missing" else "decoder.99.bias"
    with pytest.raises(ValueError, match=rf"do not fit .*{spoil} \['{name}'\]"):
        HybridTokenizer.from_pretrained(tmp_path)
