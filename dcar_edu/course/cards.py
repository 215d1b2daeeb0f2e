"""The card of a shipped checkpoint: measured numbers, a grid of pictures, limits.

``metrics.json`` and ``samples.webp`` are made from the checkpoint as stored, never from the run
that made it.
"""

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dcar_edu import checkpoint, images
from dcar_edu.course.recipes import Recipe, learnt_examples
from dcar_edu.data import CaptionedEmoji, EmojiExample
from dcar_edu.metrics import psnr, token_match
from dcar_edu.pipeline import DCAR
from dcar_edu.tokenizer import TokenizerConfig
from dcar_edu.tokenizer.quantizer import code_usage

PICTURES = 512
"""Held-out pictures that the tokenizer is judged on."""


@torch.no_grad()
def judge_tokenizer(model: DCAR, resolution: int, seed: int = 0) -> dict[str, float]:
    """PSNR of both paths and code use, on concepts that no part has seen in any style."""
    data = CaptionedEmoji("held_out_concepts", resolution)
    generator = torch.Generator().manual_seed(seed)
    scores: dict[str, list[Tensor]] = {"hybrid": [], "discrete": [], "codes": []}
    for _ in range(PICTURES // 32):
        batch = data.batch(32, device=model.device, generator=generator).images
        encoded = model.tokenizer.encode(batch)
        hybrid = model.tokenizer.decode(encoded.indices, encoded.residuals)
        scores["hybrid"].append(psnr(hybrid, batch))
        scores["discrete"].append(psnr(model.tokenizer.decode(encoded.indices), batch))
        scores["codes"].append(encoded.indices.flatten())
    used = code_usage(torch.cat(scores["codes"]), model.tokenizer.config.num_codes)
    return {
        "psnr_hybrid": round(torch.cat(scores["hybrid"]).mean().item(), 2),
        "psnr_discrete": round(torch.cat(scores["discrete"]).mean().item(), 2),
        "code_usage": round(used.usage, 3),
        "code_perplexity": round(used.perplexity, 1),
        "code_cosine": round(model.tokenizer.config.code_cosine or 0.0, 3),
        "residual_std": round(model.tokenizer.config.residual_std or 0.0, 4),
    }


def judge_prompts(
    model: DCAR, data: CaptionedEmoji, examples: list[EmojiExample], seed: int = 0
) -> tuple[float, list[float]]:
    """Mean token match of learnt prompts, and each one's; 12 steps, guidance 4.5."""
    matches: list[float] = []
    for start in range(0, len(examples), 32):
        chunk = examples[start : start + 32]
        numbers = [seed + start + i for i in range(len(chunk))]
        prompts = [example.caption for example in chunk]
        drawn = model.generate_tokens(prompts, seed=numbers)
        original = model.tokenizer.encode(data.render(chunk, model.device)).indices
        matches += token_match(drawn.cpu(), original.cpu()).tolist()
    return round(sum(matches) / len(matches), 3), matches


def draw_samples(
    model: DCAR, data: CaptionedEmoji, examples: list[EmojiExample], columns: int = 6
) -> Tensor:
    """Drawn picture and original side by side, ``columns`` pairs in a row."""
    prompts = [example.caption for example in examples]
    drawn = torch.stack([images.from_pil(p) for p in model.generate(prompts, seed=0)])
    originals = data.render(examples, "cpu")
    pairs = torch.stack([drawn, originals], dim=1).flatten(0, 1)
    return images.grid(pairs, columns=2 * columns)


def measure(folder: Path, recipe: Recipe) -> dict[str, Any]:
    """Judge a stored checkpoint; also writes its sheet of samples."""
    began = time.monotonic()
    model = DCAR.from_pretrained(folder)
    data, examples = learnt_examples(recipe)
    match, each = judge_prompts(model, data, examples)
    blue = [example for example in examples if example.background == recipe.backgrounds[-1]]
    images.save(draw_samples(model, data, blue[:24]), folder / "samples.webp")
    return {
        **judge_tokenizer(model, recipe.resolution),
        "token_match": match,
        "prompts": len(each),
        "concepts": [concept.label for concept in data.concepts],
        "judged_in_seconds": round(time.monotonic() - began),
    }


def write_card(folder: Path, name: str, recipe: Recipe, made: dict[str, Any]) -> dict[str, Any]:
    """Measure the checkpoint in ``folder`` and write ``metrics.json`` and ``README.md``."""
    found = {**measure(folder, recipe), **made}
    text = json.dumps(found, indent=1, ensure_ascii=False)
    checkpoint.write_atomically(folder / "metrics.json", text.encode())
    checkpoint.write_atomically(folder / "README.md", card(name, recipe, found).encode())
    return found


CARD = """# {name}

A DC-AR of preset `{preset}`: {resolution} px, {side}x{side} tokens of 1 in {codes} codes, and a
continuous residual. Made by `dcar checkpoints {name}` to teach with: small, quick, and good at
what it has seen.

![Drawn from prompts (left of each pair) beside the pictures they describe](samples.webp)

## What it learnt
- Tokenizer: all four styles, twelve backgrounds and two sizes of the emoji in `data/emoji` (split
  `train`), mirrored half of the time; {known} of the {tokenizer_batch} pictures of a step are ones
  that the generator learns.
- Generator: {learnt} concepts in the style {styles}, normal size, on {backgrounds}: {prompts}
  pictures with captions such as "a 3D emoji of a wolf on a pale blue background".
  `metrics.json` lists the concepts.
- Text encoder: all-MiniLM-L6-v2, frozen, not in this folder.
- Licences: Fluent emoji (MIT), Noto emoji (Apache-2.0), see `data/emoji`. These weights: MIT.

## Measured, on the stored bfloat16 weights
| what | value |
|---|---|
| PSNR of {pictures} held-out pictures, hybrid path | {psnr_hybrid} dB |
| the same, discrete path | {psnr_discrete} dB |
| codes used on them | {usage} %, perplexity {code_perplexity} |
| cosine of latent and code; residual std | {code_cosine}; {residual_std} |
| share of its tokens that a learnt prompt redraws | {token_match} |

Prompts were drawn in 12 steps with guidance 4.5 and temperature 1.5.

## How it was trained
| part | steps | pictures a step | time |
|---|---|---|---|
| tokenizer | {tokenizer_steps} | {tokenizer_batch} | {tokenizer_minutes} min |
| generator | {generator_steps} | {generator_batch} | {generator_minutes} min |
| its residual head once more, alone | {head_steps} | {head_pictures} | {head_minutes} min |

On {device}, float32. Steps of the tokenizer's stages: {stages} (not the paper's 1:4:1, see
`DEVIATIONS.md`). Pixel loss L1 + {l2:g} x MSE; no perceptual and no adversarial term.

## Limits
It knows the listed concepts by heart and little else: a prompt outside them gives a mixture.
Faces and people were left out. Twelve steps for sixteen tokens is nearly one token a step; the
saving that the paper is about needs larger grids.
"""


def card(name: str, recipe: Recipe, found: dict[str, Any]) -> str:
    """The model card as Markdown."""
    tokenizer, sizes = recipe.tokenizer_training, TokenizerConfig.preset(recipe.preset)
    return CARD.format(
        **{k: v for k, v in found.items() if k != "concepts"},
        name=name,
        preset=recipe.preset,
        resolution=recipe.resolution,
        side=recipe.resolution // sizes.downsample,
        codes=sizes.num_codes,
        learnt=len(found["concepts"]),
        styles=", ".join(recipe.styles),
        backgrounds=" and ".join(recipe.backgrounds),
        pictures=PICTURES,
        usage=round(100 * found["code_usage"]),
        known=round(recipe.learnt_share * recipe.tokenizer_batch),
        stages=", ".join(f"{stage.name} {stage.steps}" for stage in tokenizer.stages),
        l2=tokenizer.l2,
        tokenizer_steps=tokenizer.steps,
        tokenizer_batch=recipe.tokenizer_batch,
        generator_steps=recipe.generator_training.steps,
        generator_batch=recipe.generator_batch,
        head_steps=recipe.head_training.steps,
        head_pictures=f"{recipe.head_batch} tokens",
    )
