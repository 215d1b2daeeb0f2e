"""Giving a model away: its card, the files that go, and the way to the Hugging Face Hub.

Nothing leaves the machine unless ``dry_run=False`` is said.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dcar_edu.checkpoint import write_atomically

SHARED = (".safetensors", ".json", ".md", ".webp", ".png")
"""Endings of files that belong to a model: weights, configs, its card and pictures on it."""
PARTS = ("generator", "tokenizer")
"""Sub-folders of a model; files elsewhere in it stay, but for those beside ``config.json``."""


@dataclass(frozen=True)
class ModelCard:
    """What somebody who has only the model must be told; every field but the last two is needed."""

    name: str
    license: str
    """Of the weights, as the Hub writes it: ``mit``, ``apache-2.0``, ``cc-by-4.0``."""
    starts_from: str
    """The model that it was fine-tuned from."""
    data: str
    """What the pictures show, how many there are, where they come from."""
    rights: str
    """Who owns the pictures, and under which licence they may be used so."""
    training: str
    """What learnt, what stayed frozen, how long."""
    results: str
    """Numbers with intervals, and on which pictures; Markdown."""
    limits: str
    """What it does badly, and an example of it."""
    use: str
    """For what it is meant, and for what not."""
    prompt: str
    """A caption that it draws well."""
    guidance: float = 4.5
    pictures: Mapping[str, str] = field(default_factory=dict)
    """File beside the card -> what is seen in it."""

    def __post_init__(self) -> None:
        """Ask that nothing is left blank."""
        blank = [f.name for f in fields(self) if not str(getattr(self, f.name)).strip()]
        if blank:
            raise ValueError(
                f"a model card must say something about: {', '.join(blank)}. Who loads the model "
                "has nothing else to go by; write 'not known' where that is the truth."
            )


CARD = """---
license: {license}
library_name: dcar_edu
pipeline_tag: text-to-image
tags:
- dc-ar
- text-to-image
---

# {name}

A text-to-image model, DC-AR fine-tuned from `{starts_from}` with `dcar_edu`. It is a student's
project: a small model for learning, not for products.

{pictures}
## Pictures it learnt from
{data}

{rights}

## How it was trained
{training}

## How good it is
{results}

## Limits
{limits}

## Use
{use}

```python
from dcar_edu import DCAR

model = DCAR.from_pretrained("{where}")
model.generate([{prompt}], guidance={guidance:g}, seed=0)[0].save("picture.png")
```
"""


def card_text(card: ModelCard, where: str = "path/to/this/folder") -> str:
    """The card as Markdown, with the head that the Hub reads.

    Args:
        card: what to say.
        where: the folder or Hub id that the example loads.
    """
    shown = "".join(f"![{words}]({file})\n\n" for file, words in card.pictures.items())
    values = {f.name: getattr(card, f.name) for f in fields(card)}
    values |= {"pictures": shown, "prompt": json.dumps(card.prompt, ensure_ascii=False)}
    return CARD.format(**values, where=where)


def write_card(folder: str | os.PathLike, card: ModelCard, where: str | None = None) -> Path:
    """Write the card as ``README.md``, where the Hub looks for it.

    Args:
        folder: of the model.
        card: what to say.
        where: the Hub id that the example loads; the folder's name if not given.

    Raises:
        ValueError: a picture of the card does not lie in the folder.
    """
    folder = Path(folder)
    missing = [name for name in card.pictures if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"the card shows {', '.join(missing)}, not in '{folder}'. Save it there.")
    path = folder / "README.md"
    write_atomically(path, card_text(card, where or folder.name).encode())
    return path


@dataclass(frozen=True)
class Sharing:
    """What a push would do, or has done."""

    repo: str
    files: dict[str, int]
    """What goes: path -> bytes."""
    stays: tuple[str, ...]
    """Files of the folder that do not belong to a model, and stay."""
    address: str = ""
    """Where it is; empty after a dry run."""

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(self.files.values())

    def __str__(self) -> str:
        """Every file with its size, for people."""
        lines = [f"{size:12,d} bytes  {path}" for path, size in self.files.items()]
        lines.append(f"{self.size:12,d} bytes  in {len(self.files)} files, to {self.repo}")
        if self.stays:
            lines.append(f"stays here: {', '.join(self.stays)}")
        done = (
            f"pushed: {self.address}" if self.address else "dry run: nothing has left this machine"
        )
        return "\n".join([*lines, done])


def share(
    folder: str | os.PathLike,
    repo: str,
    *,
    dry_run: bool = True,
    private: bool = True,
    api: Any = None,
) -> Sharing:
    """Push a model to the Hub, or say what a push would send.

    Args:
        folder: what ``save_pretrained`` wrote, with a card in it (:func:`write_card`).
        repo: ``"your-name/name-of-the-model"``; made when there is none.
        dry_run: send nothing; needs no account, no network and no library.
        private: whether a new repository is seen by you alone. An old one stays as it is.
        api: a ``huggingface_hub.HfApi``; the one of your login if not given (`hf auth login`).

    Raises:
        ValueError: no such name, no whole model, no card, ``huggingface_hub`` is missing, or the
            Hub refuses.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repo):
        raise ValueError(f"a Hub id reads 'your-name/name-of-the-model', got '{repo}'.")
    files, stays = files_of(folder)
    plan = Sharing(repo, files, stays)
    return plan if dry_run else _push(Path(folder), plan, private, api)


def files_of(folder: str | os.PathLike) -> tuple[dict[str, int], tuple[str, ...]]:
    """The files of a model with their sizes, and those in its folder that are none of it.

    Raises:
        ValueError: no whole model, or no card.
    """
    folder = Path(folder)
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files, stays = {}, []
    for path in found:
        inside = path.relative_to(folder)
        place = inside.parts[:-1]
        ours = path.suffix in SHARED and not inside.name.startswith(".")
        if ours and (place == () or (len(place) == 1 and place[0] in PARTS)):
            files[inside.as_posix()] = path.stat().st_size
        else:
            stays.append(inside.as_posix())
    wanted = ("config.json", "generator/config.json", "README.md")
    missing = [name for name in wanted if name not in files]
    if missing:
        raise ValueError(
            f"'{folder}' is not ready to be shared: {', '.join(missing)} is missing. Write the "
            "model with save_pretrained and its card with dcar_edu.sharing.write_card."
        )
    return files, tuple(stays)


def _push(folder: Path, plan: Sharing, private: bool, api: Any) -> Sharing:
    """Make the repository and send the files of the plan, and no others."""
    if api is None:
        try:
            from huggingface_hub import HfApi
        except ImportError as error:
            raise ValueError(
                "pushing needs huggingface_hub, which is not installed. Run: pip install "
                "'dcar_edu[text]'"
            ) from error
        api = HfApi()
    try:
        address = api.create_repo(plan.repo, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=plan.repo,
            folder_path=folder,
            allow_patterns=[_literal(path) for path in plan.files],
            commit_message=f"Upload {folder.name}",
        )
    except Exception as error:
        raise ValueError(
            f"cannot push to '{plan.repo}': {error}. Log in with 'hf auth login' and a token that "
            "may write, use your own name before the slash, and check the connection."
        ) from error
    return Sharing(plan.repo, plan.files, plan.stays, str(address))


def _literal(path: str) -> str:
    """The path as a pattern that fits no other one."""
    return re.sub(r"([*?\[])", r"[\1]", path)
