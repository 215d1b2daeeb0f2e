"""An evaluation as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from dcar_edu.metrics.judge import PATHS


def table(numbers: dict[str, Any]) -> str:
    """Everything that was measured.

    Args:
        numbers: as in ``evaluation.json``.
    """
    parts = [f"# {numbers['model']} at {numbers['resolution']} px\n"]
    if numbers["splits"]:
        parts += ["## Pictures redrawn\n", redrawn(numbers["splits"]), ABOUT_REDRAWN]
    if "prompts" in numbers:
        parts += ["## Prompts drawn\n", prompts(numbers["prompts"]), about_prompts(numbers)]
    parts.append(f"Seed {numbers['seed']}, {numbers['device']}, torch {numbers['torch']}.\n")
    return "\n".join(parts)


ABOUT_REDRAWN = (
    "\nPSNR, SSIM and the perceptual distance (0: alike) are means over pictures. rKID: kernel "
    "distance x1000 between originals and redrawn pictures. Distances look at EfficientNet-Lite0 "
    "features and do not compare with published LPIPS, KID or FID. In brackets: 95 % bootstrap "
    "interval.\n"
)


def redrawn(splits: dict[str, dict[str, Any]]) -> str:
    """Two rows for each split, one a path."""
    rows = []
    for split, found in splits.items():
        for path in PATHS:
            distance = f"rkid_efficientnet_{path}"
            rows.append(
                (
                    f"{split}, {found['images']} pictures" if path == PATHS[0] else "",
                    path,
                    f"{found[f'psnr_{path}']:.2f}",
                    f"{found[f'ssim_{path}']:.3f}",
                    f"{found[f'perceptual_{path}']:.3f}",
                    _between(found, distance, 1),
                    f"{100 * found['usage']:.0f} %, {found['perplexity']:.0f}"
                    if path == PATHS[0]
                    else "",
                )
            )
    heads = ("split", "path", "PSNR, dB", "SSIM", "perceptual", "rKID", "codes used, perplexity")
    return markdown(heads, rows)


def prompts(found: dict[str, Any]) -> str:
    """A row for each path, the real pictures, and guessing."""
    knows = "token_match" in found
    heads = ["drawn by", "R@1, %", "R@5, %", "gKID", *(["tokens redrawn, %"] if knows else [])]
    rows = []
    for path in PATHS:
        seen = found[path]
        row = [path, _share(seen), f"{100 * seen['r5']:.1f}", _between(seen, "kid_efficientnet", 1)]
        same = "the same" if path != PATHS[0] else f"{100 * found.get('token_match', 0):.1f}"
        rows.append(row + [same] * knows)
    real, chance = found["real"], 100 * found["chance"]
    five = min(5 * chance, 100)
    rows.append(["real pictures", _share(real), f"{100 * real['r5']:.1f}", *[""] * (1 + knows)])
    rows.append(["by chance", f"{chance:.2f}", f"{five:.2f}", *[""] * (1 + knows)])
    return markdown(heads, rows)


def about_prompts(numbers: Mapping[str, Any]) -> str:
    """What the numbers of the prompts mean."""
    found, how = numbers["prompts"], numbers["sampling"]
    origin = "that it learnt" if found["split"] == "learnt" else "of the data's split `train`"
    return (
        f"\n{found['prompts']} prompts {origin}, drawn once in {how['num_steps']} steps with "
        f"guidance {how['guidance']:g} and temperature {how['temperature']:g}; both paths decode "
        "the same tokens. R@1: the right label ranks first among "
        f"{found['candidates']} candidates, judged by this library's alignment head; its score for "
        "the real pictures is the ceiling. gKID: kernel distance x1000 to the real pictures of "
        "these prompts, on EfficientNet-Lite0 features, not comparable with FID. In brackets: 95 % "
        "bootstrap interval.\n"
    )


def _share(found: dict[str, Any]) -> str:
    low, high = (100 * end for end in found["r1_interval"])
    return f"{100 * found['r1']:.1f} [{low:.1f}, {high:.1f}]"


def _between(found: dict[str, Any], name: str, digits: int) -> str:
    low, high = found[f"{name}_interval"]
    return f"{found[name]:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
