"""Lesson 15: five questions on what the paper leaves open, and the terms."""

from dcar_edu.course.quiz import Choice, Question

QUIZ = (
    Question(
        "15.q1",
        "Paper check, open question 1. Why can next-scale drawing (VAR) not simply take the tokens "
        "of a DC-AR tokenizer that is there already?",
        (
            Choice(
                "Because VAR cannot be guided by text",
                False,
                "It can: through the same cross-attention, and with the same two passes.",
            ),
            Choice(
                "Because it needs tokens of several sizes, each saying what the coarser ones left; "
                "this tokenizer has one grid",
                True,
                "Yes. We put a multi-scale quantizer on the same latents. Trained together with "
                "it, an encoder could also learn latents that are easy to say coarsely.",
            ),
            Choice(
                "Because the residual head works on one size only",
                False,
                "True, and no obstacle: what the last scale leaves is on the finest grid.",
            ),
        ),
    ),
    Question(
        "15.q2",
        "Why does next-scale drawing need more tokens for the same grid?",
        (
            Choice(
                "It draws each place of the grid twice",
                False,
                "The finest grid is drawn once. What else is there?",
            ),
            Choice(
                "The coarser grids come on top: 1 + 4 + 16 in place of 16",
                True,
                "Yes, about a third more when sides double. In return it takes one pass a scale: "
                "three in place of twelve.",
            ),
            Choice(
                "Each of its codes holds fewer bits",
                False,
                "A code of K has log2 K bits, whatever it is used for.",
            ),
        ),
    ),
    Question(
        "15.q3",
        "Only the order of drawing changes, from masked to next-scale. Which parts of DC-AR stay "
        "as they are?",
        (
            Choice(
                "Encoder, decoder, text encoder, transformer blocks, guidance and residual head",
                True,
                "Yes. New are the quantizer, what goes in as a token, the attention mask and the "
                "sampler.",
            ),
            Choice(
                "The tokenizer with its codes, and nothing of the generator",
                False,
                "The other way round: the codes change, most of the generator does not.",
            ),
            Choice(
                "The sampler: it is MaskGIT's in both cases",
                False,
                "A next-scale sampler hides nothing and needs no confidence.",
            ),
        ),
    ),
    Question(
        "15.q4",
        "Paper check, open question 2. What would convince you that f64 fails, and not only this "
        "run of it?",
        (
            Choice(
                "A loss curve of f64 that stays above that of f32",
                False,
                "With which sizes, seeds and learning rates? And a loss of two tokenizers says "
                "little about pictures.",
            ),
            Choice(
                "One large f64 model with worse pictures than the paper's f32",
                False,
                "Then size, data and tuning differ too. A failure of one run is easy to get.",
            ),
            Choice(
                "Worse pictures at equal latent values, parameters and compute, over seeds and "
                "several sizes, with a gap that does not close when training goes on",
                True,
                "Yes. And even then it is a statement about this schedule at these sizes.",
            ),
        ),
    ),
    Question(
        "15.q5",
        "Three seeds: arm A has 20.1, 20.6 and 19.8 dB, arm B 20.3, 20.2 and 20.4 dB. Which is "
        "better?",
        (
            Choice(
                "B: its mean is higher, 20.30 against 20.17",
                False,
                "By 0.13 dB, and seed by seed the gap is -0.2, +0.4 and -0.6.",
            ),
            Choice(
                "Cannot tell: the gaps between the same seeds go both ways and are larger than "
                "their mean",
                True,
                "Yes. That is a result too: it tells how large a difference could be missed.",
            ),
            Choice(
                "Both are equal",
                False,
                "That was not shown either: a true gap of half a decibel could hide in this noise.",
            ),
        ),
    ),
)

TERMS = {
    "scale": "One of several token grids of a picture, from 1 x 1 up to the full one.",
    "multi-scale quantizer": "Codes for grid after grid, coarsest first; each says what the "
    "coarser ones left.",
    "next-scale prediction": "Drawing all tokens of a grid at once from all coarser grids (VAR).",
    "block-causal mask": "Who may look at whom when tokens come in groups: own group and earlier.",
    "teacher forcing": "Training on the right past instead of the model's own.",
}
