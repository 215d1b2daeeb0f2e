"""How T5 is called: the released code lets padding take part in the reading."""

import pytest
import torch

from dcar_edu.interop import as_released
from dcar_edu.text import TextEncoder

pytest.importorskip("transformers", reason="T5 needs the transformers library")


class Pieces:
    """A tokenizer that knows the stored prompts by their row: "0", "1", ..."""

    def __init__(self, ids, mask):
        self.rows = [row[real] for row, real in zip(ids, mask, strict=True)]

    def __call__(self, texts, padding=False, max_length=None, **_):
        if isinstance(texts, str):
            return {"input_ids": self.rows[int(texts)].tolist()}
        rows = [self.rows[int(text)] for text in texts]
        long = max_length if padding == "max_length" else max(map(len, rows))
        ids = torch.stack([torch.nn.functional.pad(row, (0, long - len(row))) for row in rows])
        return {"input_ids": ids, "attention_mask": (ids != 0).long()}


def encoder(stored):
    from transformers import T5EncoderModel

    model = T5EncoderModel.from_pretrained(
        stored.case.folder, local_files_only=True, use_safetensors=True, dtype=stored.dtype
    )
    ids, mask = stored["input_ids"], stored["text_mask"]
    return TextEncoder("t5", model, Pieces(ids, mask), length=ids.shape[1])


@pytest.mark.stored("t5", r"official_states_no_attention_mask")
def test_as_released(stored):
    ids, mask = stored["input_ids"], stored["text_mask"]
    released = as_released(encoder(stored))
    assert (released.name, released.length) == ("t5", ids.shape[1])
    with torch.no_grad():
        stored.agrees(released.model(input_ids=ids, attention_mask=mask).last_hidden_state)
    if stored.dtype == torch.float32:  # states are handed on in float32
        read = released([str(i) for i in range(len(ids))])
        assert torch.equal(read.mask, mask)
        stored.agrees(read.states)


@pytest.mark.stored("t5", r"official_states_no_attention_mask")
def test_as_released_pads_a_short_batch_to_the_full_length(stored):
    """The longest prompt decides nothing: a short prompt alone gives the states it had."""
    mask = stored["text_mask"]
    shortest = int(mask.sum(1).argmin())
    read = as_released(encoder(stored))([str(shortest)])
    assert read.states.shape[1] == mask.shape[1]
    stored.reference = stored.reference[shortest].float()
    stored.dtype = torch.float32
    stored.agrees(read.states[0])


@pytest.mark.stored("t5", r"contrast_states_with_attention_mask")
def test_the_usual_call_masks_padding(stored):
    """What our own models are trained with; other numbers on purpose."""
    mask = stored["text_mask"]
    read = encoder(stored)([str(i) for i in range(len(mask))])
    length = read.states.shape[1]
    stored.reference = stored.reference[:, :length][mask[:, :length]]
    stored.agrees(read.states[mask[:, :length]])
    official = stored["official_states_no_attention_mask"][:, :length][mask[:, :length]]
    assert (stored.reference - official).abs().max() > 0.1
