"""Pictures as tokens for the generator: encoded once where that pays, on the fly elsewhere."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes
from safetensors.torch import save as to_bytes
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from dcar_edu.checkpoint import write_atomically
from dcar_edu.generator.training import TokenBatch
from dcar_edu.runs.sources import Drawn, Mixture
from dcar_edu.team import Team
from dcar_edu.text import TextEncoder
from dcar_edu.tokenizer import HybridTokenizer

FEW = 20_000
"""A source of at most so many pictures is encoded before the first step, if it is drawn through."""
OFTEN = 4
"""A larger source is encoded beforehand only if each of its pictures is drawn so many times."""
HELD = 4 * 2**30
"""Bytes of memory that the tokens and words of one source may take."""
CHUNK = 512
"""Pictures in one file of encoded tokens."""


class TokenSource:
    """Makes the token batches of a run.

    Args:
        source: the pictures.
        tokenizer: frozen; on the team's device.
        encoder: frozen; on the team's device.
        team: the processes that share the run.
        folder: keeps what is encoded once; a killed run goes on with the files that are there.
        drawn: pictures that the whole run draws, if known; see :meth:`pays`.
    """

    def __init__(
        self,
        source: Mixture,
        tokenizer: HybridTokenizer,
        encoder: TextEncoder,
        team: Team,
        folder: Path,
        drawn: int | None = None,
    ):
        self.source, self.tokenizer, self.encoder = source, tokenizer, encoder
        self.team, self.folder = team, folder
        self.kept: dict[int, _Table] = {}
        self.place: dict[Drawn, int] = {}
        for number in range(len(source.parts)):
            if source.finite(number) and self.pays(number, drawn):
                rows = source.listed(number)
                self.kept[number] = self._encode_all(number, rows)
                self.place |= {row: place for place, row in enumerate(rows)}

    def pays(self, number: int, drawn: int | None) -> bool:
        """Whether a source is encoded beforehand: its tokens find room, and are used often enough.

        Args:
            number: of the source.
            drawn: pictures that the whole run draws; None: not known yet.
        """
        part, shares = self.source.parts[number], sum(part.share for part in self.source.parts)
        data, sizes = self.source.data[number], self.tokenizer.config
        count = len(data) * (2 if part.mirror else 1)
        tokens = (data.resolution // sizes.downsample) ** 2
        words = 2 * self.encoder.length * self.encoder.width  # a long caption
        if count * (tokens * (4 + 2 * sizes.latent_channels) + words) > HELD:
            return False
        if drawn is None:
            return count <= FEW
        times = drawn * part.share // shares / count
        return times >= (1 if count <= FEW else OFTEN)

    def batch(self, rows: Sequence[Drawn]) -> TokenBatch:
        """Some drawn rows as tokens and text, in their order, on the team's device."""
        once = [i for i, row in enumerate(rows) if row.part in self.kept]
        fly = [i for i, row in enumerate(rows) if row.part not in self.kept]
        pieces = [
            self.kept[part].batch([self.place[rows[i]] for i in once if rows[i].part == part])
            for part in sorted({rows[i].part for i in once})
        ]
        order = sorted(once, key=lambda i: rows[i].part) + fly
        if fly:
            pieces.append(self._encode([rows[i] for i in fly]))
        back = torch.tensor(order).argsort()
        return join([on(piece, self.team.device) for piece in pieces], back)

    def batches(self, n: int, generator: torch.Generator) -> Iterator[TokenBatch]:
        """This process's rows of endless batches of ``n``, drawn from ``generator``."""
        while True:
            yield self.batch(self.source.draw(n, generator)[self.team.rows(n)])

    @torch.no_grad()
    def _encode(self, rows: Sequence[Drawn]) -> TokenBatch:
        seen = self.tokenizer.encode(self.source.render(rows, self.team.device))
        words = self.encoder([row.caption for row in rows])
        return TokenBatch(seen.indices, seen.residuals, words.states, words.mask)

    def _encode_all(self, part: int, rows: list[Drawn]) -> "_Table":
        """Encode every picture of a source, in files that a killed run finds again.

        The processes take turns at the files, and all read all of them.
        """
        folder = self.folder / self._name(part)
        chunks = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
        paths = [folder / f"{number:05d}.safetensors" for number in range(len(chunks))]
        if not all(path.is_file() for path in paths):
            self.team.say(f"encoding {len(rows)} pictures once, into {folder}")
        for first in range(0, len(chunks), self.team.size):
            mine = first + self.team.rank
            if mine < len(chunks) and _read(paths[mine]) is None:
                write_atomically(paths[mine], to_bytes(self._packed(chunks[mine])))
            self.team.total(torch.zeros(1, device=self.team.device))  # wait for each other
        read = [_read(path) for path in paths]
        return _Table.of([chunk for chunk in read if chunk is not None])

    def _packed(self, rows: list[Drawn]) -> dict[str, Tensor]:
        pieces = [self._encode(rows[i : i + 64]) for i in range(0, len(rows), 64)]
        batch = join([on(piece, torch.device("cpu")) for piece in pieces])
        return {
            "indices": batch.indices.to(torch.int32).contiguous(),
            "residuals": batch.residuals.to(torch.float16).contiguous(),
            "words": batch.text[batch.text_mask].to(torch.float16).contiguous(),
            "lengths": batch.text_mask.sum(1).contiguous(),
        }

    def _name(self, part: int) -> str:
        """A folder name that changes with anything the tokens depend on."""
        key = [
            self.tokenizer.fingerprint(),
            self.source.data[part].fingerprint(),
            self.source.parts[part].mirror,
            self.encoder.identity,
            self.encoder.length,
        ]
        return hashlib.sha256(repr(key).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Table:
    """Every picture of one source as tokens; residuals and words in 16 bit."""

    indices: Tensor
    residuals: Tensor
    words: Tensor
    """The states of all words, one below the other ``(words, d)``."""
    ends: Tensor
    """Where each picture's words end."""

    @classmethod
    def of(cls, chunks: list[dict[str, Tensor]]) -> "_Table":
        names = ("indices", "residuals", "words", "lengths")
        whole = {name: torch.cat([chunk[name] for chunk in chunks]) for name in names}
        ends = whole.pop("lengths").cumsum(0)
        return cls(**whole, ends=ends)

    def batch(self, places: list[int]) -> TokenBatch:
        """The rows at ``places``, in float32."""
        begins = [int(self.ends[i - 1]) if i else 0 for i in places]
        texts = [self.words[b : int(self.ends[i])] for b, i in zip(begins, places, strict=True)]
        lengths = torch.tensor([len(text) for text in texts])
        return TokenBatch(
            self.indices[places].long(),
            self.residuals[places].float(),
            pad_sequence(texts, batch_first=True).float(),
            torch.arange(int(lengths.max()))[None] < lengths[:, None],
        )


def _read(path: Path) -> dict[str, Tensor] | None:
    """Encoded pictures; None when there are none, or the file is damaged."""
    try:
        return from_bytes(path.read_bytes())
    except (OSError, SafetensorError):
        return None


def on(batch: TokenBatch, device: torch.device) -> TokenBatch:
    """The batch on a device."""
    return TokenBatch(*(getattr(batch, name).to(device) for name in _NAMES))


def join(pieces: Sequence[TokenBatch], order: Tensor | None = None) -> TokenBatch:
    """Batches one below the other, texts filled up to the longest, then in another order."""
    longest = max(piece.text.shape[1] for piece in pieces)

    def filled(tensor: Tensor) -> Tensor:
        missing = longest - tensor.shape[1]
        return F.pad(tensor, (0, 0, 0, missing) if tensor.ndim == 3 else (0, missing))

    columns = [
        torch.cat([piece.indices for piece in pieces]),
        torch.cat([piece.residuals for piece in pieces]),
        torch.cat([filled(piece.text) for piece in pieces]),
        torch.cat([filled(piece.text_mask) for piece in pieces]),
    ]
    if order is not None:
        columns = [column[order.to(column.device)] for column in columns]
    return TokenBatch(*columns)


_NAMES = ("indices", "residuals", "text", "text_mask")
