"""Did a prompt redraw the tokens of the picture it describes?"""

from torch import Tensor


def token_match(drawn: Tensor, originals: Tensor) -> Tensor:
    """Share of the tokens of each picture that are exactly the original's.

    Args:
        drawn: int64 ``(b, h, w)``.
        originals: the same shape: the tokens of the learnt picture.

    Returns:
        ``(b,)`` in [0, 1].

    Raises:
        ValueError: shapes differ.
    """
    if drawn.shape != originals.shape or drawn.ndim != 3:
        raise ValueError(
            f"token_match compares two grids (b, h, w) of one shape, got {tuple(drawn.shape)} and "
            f"{tuple(originals.shape)}. Encode both with the same tokenizer."
        )
    return (drawn == originals.to(drawn.device)).float().mean(dim=(1, 2))
