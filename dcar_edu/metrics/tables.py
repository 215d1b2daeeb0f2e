"""An evaluation as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from dcar_edu.metrics.judge import PATHS
from dcar_edu.metrics.networks import TITLES


def table(numbers: dict[str, Any]) -> str:
    """Everything that was measured.

    Args:
        numbers: as in ``evaluation.json``.
    """
    network = network_of(numbers)
    parts = [f"# {numbers['model']} at {numbers['resolution']} px\n"]
    if numbers["splits"]:
        parts += ["## Pictures redrawn\n", redrawn(numbers["splits"], network)]
        parts += [about_redrawn(numbers["splits"], network)]
    if "prompts" in numbers:
        parts += ["## Prompts drawn\n", prompts(numbers["prompts"], network)]
        parts += [about_prompts(numbers)]
    if "reference" in numbers:
        found = numbers["reference"]
        parts += [f"## Reference {found['source']}, split {found['split']}\n"]
        split = {"redrawn": found["redrawn"]}
        parts += [redrawn(split, network), about_redrawn(split, network)]
        if "drawn" in found:
            parts += [reference(found, network), about_reference(numbers)]
    parts.append(f"Seed {numbers['seed']}, {numbers['device']}, torch {numbers['torch']}.\n")
    return "\n".join(parts)


def network_of(numbers: Mapping[str, Any]) -> str:
    """The name of the network that an evaluation's distances looked through."""
    names = {title: name for name, title in TITLES.items()}
    return names[numbers.get("features", TITLES["efficientnet"])]


def about_redrawn(splits: Mapping[str, Any], network: str = "efficientnet") -> str:
    """What the numbers of redrawn pictures mean."""
    fid = ", rFID the Fréchet distance" if _knows_fid(splits, network) else ""
    return (
        "\nPSNR, SSIM and the perceptual distance (EfficientNet-Lite0; 0: alike) are means over "
        f"pictures. rKID is the kernel distance x1000 between originals and redrawn pictures{fid}: "
        f"{_compares(network)}. In brackets: 95 % bootstrap interval.\n"
    )


def _knows_fid(splits: Mapping[str, Any], network: str) -> bool:
    return any(f"rfid_{network}_{path}" in found for found in splits.values() for path in PATHS)


def _compares(network: str) -> str:
    if network == "inception":
        return "on features of Inception-v3, as published values are on as many of these pictures"
    return f"on features of {TITLES[network]}, and not comparable with published LPIPS, KID or FID"


def redrawn(splits: dict[str, dict[str, Any]], network: str = "efficientnet") -> str:
    """Two rows for each split, one a path.

    Args:
        splits: what was measured of each.
        network: whose features the distances looked at.
    """
    kid, fid = f"rkid_{network}", f"rfid_{network}"
    knows = _knows_fid(splits, network)
    rows = []
    for split, found in splits.items():
        for path in PATHS:
            first = path == PATHS[0]
            rows.append(
                [
                    f"{split}, {found['images']} pictures" if first else "",
                    path,
                    between(found, f"psnr_{path}", 2),
                    between(found, f"ssim_{path}", 3),
                    between(found, f"perceptual_{path}", 3),
                    between(found, f"{kid}_{path}", 1),
                    *([between(found, f"{fid}_{path}", 1)] if knows else []),
                    f"{100 * found['usage']:.0f} %, {found['perplexity']:.0f}" if first else "",
                ]
            )
    distances = ["rKID", *(["rFID"] if knows else [])]
    heads = ["split", "path", "PSNR, dB", "SSIM", "perceptual", *_on(distances, network)]
    return markdown([*heads, "codes used, perplexity"], rows)


def prompts(found: dict[str, Any], network: str = "efficientnet") -> str:
    """A row for each path, the real pictures, and guessing.

    Args:
        found: what was measured of prompts.
        network: whose features the distances looked at.
    """
    names = [name for name in (f"kid_{network}", f"fid_{network}") if name in found[PATHS[0]]]
    knows = "token_match" in found
    heads = ["drawn by", "R@1, %", "R@5, %", *_on(["gKID", "gFID"][: len(names)], network)]
    rows = []
    for path in PATHS:
        seen = found[path]
        row = [path, *(between(seen, f"r{k}", 1, 100) for k in (1, 5))]
        row += [between(seen, name, 1) for name in names]
        same = between(found, "token_match", 1, 100) if path == PATHS[0] and knows else "the same"
        rows.append(row + [same] * knows)
    real, chance = found["real"], 100 * found["chance"]
    empty = [""] * (len(names) + knows)
    rows.append(["real pictures", *(between(real, f"r{k}", 1, 100) for k in (1, 5)), *empty])
    rows.append(["by chance", f"{chance:.2f}", f"{min(5 * chance, 100):.2f}", *empty])
    return markdown(heads + ["tokens redrawn, %"] * knows, rows)


def reference(found: dict[str, Any], network: str) -> str:
    """What was drawn from the captions of a reference, a row a path."""
    names = [f"{kind}_{network}" for kind in ("kid", "fid")]
    rows = [[path, *(between(found["drawn"][path], name, 1) for name in names)] for path in PATHS]
    return markdown(["drawn by", *_on(["gKID", "gFID"], network)], rows)


def _on(names: Sequence[str], network: str) -> list[str]:
    """Heads of columns that say whose features were looked at."""
    return [f"{name}, {TITLES[network].split('-')[0]}" for name in names]


def about_prompts(numbers: Mapping[str, Any]) -> str:
    """What the numbers of the prompts mean."""
    found = numbers["prompts"]
    origin = "that it learnt" if found["split"] == "learnt" else "of the data's split `train`"
    return (
        f"\n{found['prompts']} prompts {origin}{_drawn(numbers)}. R@1: the right label ranks first "
        f"among {found['candidates']} candidates, judged by this library's alignment head; its "
        f"score for the real pictures is the ceiling. {_distances(numbers, found)}\n"
    )


def about_reference(numbers: Mapping[str, Any]) -> str:
    """What the numbers of a reference mean."""
    found = numbers["reference"]
    count = found["redrawn"]["images"]
    return f"\n{count} captions{_drawn(numbers)}. {_distances(numbers, found['drawn'])}\n"


def _drawn(numbers: Mapping[str, Any]) -> str:
    how = numbers["sampling"]
    return (
        f", drawn once in {how['num_steps']} steps with guidance {how['guidance']:g} and "
        f"temperature {how['temperature']:g}; both paths decode the same tokens"
    )


def _distances(numbers: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    network = network_of(numbers)
    fid = ", gFID the Fréchet distance, which few pictures make too large"
    return (
        "gKID is the kernel distance x1000 to the real pictures of these prompts"
        f"{fid if f'fid_{network}' in found[PATHS[0]] else ''}: {_compares(network)}. In brackets: "
        "95 % bootstrap interval."
    )


def between(found: Mapping[str, Any], name: str, digits: int, times: float = 1) -> str:
    """A number and, where it was measured, its interval.

    Example:
        >>> between({"r1": 0.31, "r1_interval": [0.275, 0.3512]}, "r1", 1, 100)
        '31.0 [27.5, 35.1]'
    """
    value = f"{times * found[name]:.{digits}f}"
    if f"{name}_interval" not in found:
        return value
    low, high = (times * end for end in found[f"{name}_interval"])
    return f"{value} [{low:.{digits}f}, {high:.{digits}f}]"


def markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
