"""Other people's models of our size, with random weights, on this machine.

Each body has as many weights as that of our ``small``, each decoder as many as its f32 decoder,
within 5 %; both are checked when a painter is made. What stays as published: the kind of network,
the down-sampling, the steps, and the sampler of their library.

Source:
    aMUSEd (arXiv:2401.01808): masked tokens at f16, a U-ViT, 12 steps. PixArt-alpha
    (arXiv:2310.00426): diffusion over f8 latents, 2 x 2 of them a token, 20 steps. Sana
    (arXiv:2410.10629): diffusion over f32 latents with linear attention, 20 steps.
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dcar_edu.bench.ours import Place, ours
from dcar_edu.bench.pictures import GUIDANCE, Painter, Weights, count, finished
from dcar_edu.bench.timing import Stopwatch
from dcar_edu.generator.guidance import guide
from dcar_edu.tokenizer import HybridTokenizer, TokenizerConfig

CODES = 2048
TEXT_WIDTH, WORDS = 384, 64
TOLERANCE = 0.05
MASKED_STEPS, DIFFUSION_STEPS = 12, 20
Sizes = dict[str, Any]

AMUSED: Sizes = {
    "hidden_size": 256,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "intermediate_size": 768,
    "block_out_channels": 192,
    "in_channels": 192,
    "block_num_heads": 3,
    "num_res_blocks": 1,
}
"""The published shares: 16 channels of attention to 12 of convolution, a tenth of all in these."""
VQ: Sizes = {"block_out_channels": (38, 76, 76, 152, 228), "norm_num_groups": 19}
PIXART: Sizes = {"num_layers": 7, "num_attention_heads": 4, "attention_head_dim": 72}
KL: Sizes = {"block_out_channels": (50, 100, 200, 200), "norm_num_groups": 10}
SANA: Sizes = {
    "num_layers": 7,
    "num_attention_heads": 9,
    "attention_head_dim": 32,
    "num_cross_attention_heads": 4,
    "cross_attention_head_dim": 72,
    "cross_attention_dim": 288,
}
PUBLISHED: dict[str, Sizes] = {
    "aMUSEd": {"block_out_channels": (128, 256, 256, 512, 768), "norm_num_groups": 32},
    "PixArt": {"block_out_channels": (128, 256, 512, 512), "norm_num_groups": 32},
}
"""Decoders as published: aMUSEd's, and Stable Diffusion's that PixArt uses."""


def contestants(size: int, batch: int, place: Place | None = None) -> list[Painter]:
    """Ours first, then our twins, then the peers.

    Args:
        size: pixels of a side, a multiple of 32.
        batch: pictures drawn together.
        place: where they run, as written; the CPU in float32 by default.

    Raises:
        ValueError: diffusers is not installed, or a peer is not of our size.
    """
    place = place or Place()
    how: dict[str, Any] = {"size": size, "batch": batch, "place": place}
    mine = ours("small", **how)
    twins = [ours("small", **how, downsample=f, name=f"ours at f{f}") for f in (16, 8)]
    by_token = ours("small", **how, num_steps=None, order="raster", name="token by token")
    peers = [make(size, batch, place) for make in (amused, pixart, sana)]
    for peer in peers:
        check_matched(peer.name, peer.weights, mine.weights)
    return [mine, *twins, by_token, *peers]


def check_matched(name: str, theirs: Weights, ours: Weights) -> None:
    """Raise a ValueError unless body and decoder have our number of weights within 5 %."""
    for part in ("body", "decoder"):
        they, we = getattr(theirs, part), getattr(ours, part)
        if abs(they - we) > TOLERANCE * we:
            raise ValueError(
                f"the {part} of {name} has {they:,} weights, ours {we:,}: more than "
                f"{TOLERANCE:.0%} apart. Change the peer's sizes."
            )


def amused(size: int, batch: int, place: Place) -> Painter:
    """Masked tokens at f16: all pictures and their copies without text go through together.

    At 512 pixels the U-ViT halves its grid inside, as the published 512 model does: that makes the
    peer faster.

    Source:
        diffusers, ``scripts/convert_amused.py``: the 512 model is the one "with downsample".
    """
    d = _diffusers()
    large = size >= 512
    torch.manual_seed(0)
    net = d.UVit2DModel(
        cond_embed_dim=TEXT_WIDTH,
        micro_cond_embed_dim=5 * 256,
        encoder_hidden_size=TEXT_WIDTH,
        vocab_size=CODES + 1,
        codebook_size=CODES,
        downsample=large,
        upsample=large,
        **AMUSED,
    )
    vq = vq_decoder(VQ)
    tables = count([net.embed.embeddings, net.mlm_layer.conv2])
    weights = Weights(count([net]) - tables, count([net]), count([vq.decoder]))
    place.put(net), place.put(vq)
    scheduler, side = d.AmusedScheduler(mask_token_id=CODES), size // 16
    words, source = _words(batch, place), torch.Generator()
    micro = torch.tensor([size, size, 0, 0, 6.0]).expand(2 * batch, -1).to(words)
    pooled = words.mean(1)

    def paint(watch: Stopwatch, steps: int) -> Tensor:
        source.manual_seed(0)
        tokens = torch.full((batch, side, side), CODES, device=place.device)
        scheduler.set_timesteps(MASKED_STEPS, device=place.device)
        for time in scheduler.timesteps[:steps]:
            cond, null = net(tokens.repeat(2, 1, 1), words, pooled, micro).chunk(2)
            watch.lap("passes")
            logits = guide(cond, null, GUIDANCE)
            tokens = scheduler.step(logits, time, tokens, generator=source).prev_sample
            watch.lap("choice")
        shape = (batch, side, side, vq.config.latent_channels)
        known = tokens.clamp(max=CODES - 1)
        pictures = vq.decode(known, force_not_quantize=True, shape=shape).sample
        return finished(watch, pictures.clamp(-1, 1))

    return Painter("aMUSEd", size, batch, MASKED_STEPS, weights, paint, side * side)


def pixart(size: int, batch: int, place: Place) -> Painter:
    """Diffusion over f8 latents, four of which make a token."""
    d = _diffusers()
    torch.manual_seed(0)
    net = d.PixArtTransformer2DModel(
        in_channels=4,
        out_channels=8,
        patch_size=2,
        sample_size=size // 8,
        cross_attention_dim=PIXART["num_attention_heads"] * PIXART["attention_head_dim"],
        caption_channels=TEXT_WIDTH,
        use_additional_conditions=False,
        **PIXART,
    )
    vae = kl_decoder(KL)
    weights = Weights(count([net]), count([net]), count([vae.decoder]))
    place.put(net), place.put(vae)
    nothing = {"resolution": None, "aspect_ratio": None}

    def guess(x: Tensor, time: Tensor, words: Tensor) -> Tensor:
        return net(x, words, timestep=time, added_cond_kwargs=nothing).sample[:, :4]

    def decode(x: Tensor) -> Tensor:
        return vae.decode(x / vae.config.scaling_factor).sample

    tokens = (size // 16) ** 2
    paint = diffusing(guess, decode, (batch, 4, size // 8, size // 8), place)
    return Painter("PixArt", size, batch, DIFFUSION_STEPS, weights, paint, tokens)


def sana(size: int, batch: int, place: Place) -> Painter:
    """Diffusion over f32 latents with linear attention; the decoder is our own, as Sana's is."""
    d = _diffusers()
    torch.manual_seed(0)
    net = d.SanaTransformer2DModel(
        in_channels=32,
        out_channels=32,
        patch_size=1,
        sample_size=size // 32,
        caption_channels=TEXT_WIDTH,
        **SANA,
    )
    tokenizer = HybridTokenizer(TokenizerConfig.preset("small"))
    weights = Weights(count([net]), count([net]), count([tokenizer.decoder]))
    place.put(net), place.put(tokenizer)

    def guess(x: Tensor, time: Tensor, words: Tensor) -> Tensor:
        return net(x, words, timestep=time).sample

    side = size // 32
    paint = diffusing(guess, tokenizer.decode_latents, (batch, 32, side, side), place)
    return Painter("Sana", size, batch, DIFFUSION_STEPS, weights, paint, side * side)


def diffusing(
    guess: Callable[[Tensor, Tensor, Tensor], Tensor],
    decode: Callable[[Tensor], Tensor],
    shape: tuple[int, int, int, int],
    place: Place,
) -> Callable[[Stopwatch, int], Tensor]:
    """How a latent diffusion model draws: guided guesses of the noise, steps of DPM-Solver.

    Args:
        guess: ``(latents, times, words) -> noise``, for all pictures with text and without.
        decode: latents to pictures.
        shape: of the latents.
        place: where.
    """
    scheduler = _diffusers().DPMSolverMultistepScheduler()
    words = _words(shape[0], place)

    def paint(watch: Stopwatch, steps: int) -> Tensor:
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(words)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of numpy, about diffusers
            scheduler.set_timesteps(DIFFUSION_STEPS, device=place.device)
        for time in scheduler.timesteps[:steps]:
            cond, null = guess(x.repeat(2, 1, 1, 1), time.expand(2 * shape[0]), words).chunk(2)
            watch.lap("passes")
            noise = guide(cond, null, GUIDANCE)
            x = scheduler.step(noise, time, x).prev_sample
            watch.lap("choice")
        return finished(watch, decode(x).clamp(-1, 1))

    return paint


def vq_decoder(sizes: Sizes) -> Any:
    """AMUSEd's tokenizer at f16, of these widths."""
    stages = len(sizes["block_out_channels"])
    return _diffusers().VQModel(
        down_block_types=("DownEncoderBlock2D",) * stages,
        up_block_types=("UpDecoderBlock2D",) * stages,
        layers_per_block=2,
        latent_channels=64,
        num_vq_embeddings=CODES,
        mid_block_add_attention=False,
        lookup_from_codebook=True,
        **sizes,
    )


def kl_decoder(sizes: Sizes) -> Any:
    """Stable Diffusion's autoencoder at f8, of these widths."""
    stages = len(sizes["block_out_channels"])
    return _diffusers().AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * stages,
        up_block_types=("UpDecoderBlock2D",) * stages,
        layers_per_block=2,
        latent_channels=4,
        **sizes,
    )


def published_decoders(size: int) -> dict[str, tuple[nn.Module, Callable[[], Tensor]]]:
    """Decoders at their published widths and what draws one picture with them, on the CPU."""
    vq, vae = vq_decoder(PUBLISHED["aMUSEd"]).eval(), kl_decoder(PUBLISHED["PixArt"]).eval()
    codes = torch.zeros(1, size // 16, size // 16, dtype=torch.int64)
    latents = torch.zeros(1, 4, size // 8, size // 8)
    shape = (1, size // 16, size // 16, 64)
    return {
        "aMUSEd": (vq.decoder, lambda: vq.decode(codes, force_not_quantize=True, shape=shape)[0]),
        "PixArt": (vae.decoder, lambda: vae.decode(latents)[0]),
    }


def _words(batch: int, place: Place) -> Tensor:
    """Text states of all pictures, then of the same pictures without text."""
    states = torch.randn(2 * batch, WORDS, TEXT_WIDTH, generator=torch.Generator().manual_seed(0))
    return states.to(place.device, place.dtype)


def _diffusers() -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise ValueError(
            "the peers need diffusers: pip install 'dcar_edu[peers]' (torch must stay as it is)."
        ) from error
    diffusers.utils.logging.set_verbosity_error()
    return diffusers
