"""Lesson 01: five checks on compression and data, one on cost, and the terms."""

from dcar_edu.course.quiz import Choice, Question

QUIZ = (
    Question(
        "01.q1",
        "Paper check. A picture of 256 x 256 pixels at 32x compression: how many tokens?",
        (
            Choice(
                "64, in 8 rows and 8 columns",
                True,
                "Yes. 32x holds for each side: 256 / 32 = 8, and 8 x 8 = 64.",
            ),
            Choice(
                "2,048: the 65,536 pixels divided by 32",
                False,
                "32 is the factor for each side, not for the area. A token covers 32 x 32 = 1,024"
                " pixels, so 65,536 / 1,024 = 64.",
            ),
            Choice(
                "256, in 16 rows and 16 columns",
                False,
                "That is 16x at 256 pixels, or 32x at 512 pixels.",
            ),
        ),
    ),
    Question(
        "01.q2",
        "Twice as many tokens. Which part of a transformer block becomes four times as expensive?",
        (
            Choice(
                "Attention: scores and weighted sum",
                True,
                "Yes: every token looks at every token, n x n pairs. 4n²d FLOPs.",
            ),
            Choice(
                "The linear layers and the MLP",
                False,
                "They treat one token after the other: 24nd² FLOPs, so twice the tokens cost "
                "twice as much.",
            ),
            Choice(
                "Both",
                False,
                "Only attention grows with n². That is why f8 costs about 23 times and not 256 "
                "times what f32 costs at 512 pixels.",
            ),
        ),
    ),
    Question(
        "01.q3",
        "A sharp checkerboard is moved by one pixel. PSNR falls to a few dB although you see no "
        "difference. Why?",
        (
            Choice(
                "PSNR compares pixel by pixel; it does not know what belongs together",
                True,
                "Yes. A moved edge is wrong at both places. A blurred edge is half wrong at each:"
                " PSNR likes blur. Lesson 05 adds measures that see texture.",
            ),
            Choice(
                "The moved picture has other colours",
                False,
                "It has the same colours in other places. Only the places count for PSNR.",
            ),
            Choice(
                "PSNR needs pictures in [0, 1]",
                False,
                "It needs the right range in the formula, but that moves every value by the same "
                "6.02 dB. The blindness stays.",
            ),
        ),
    ),
    Question(
        "01.q4",
        "The wolf is in the training set in the Noto style, and its 3D picture is held out. What "
        "does the prompt 'a 3D emoji of a wolf' test?",
        (
            Choice(
                "Whether the model can put a known concept and a known style together in a new way",
                True,
                "Yes: both words are known, their combination is not. This is called composition.",
            ),
            Choice(
                "Whether the model can draw a concept that it has never seen",
                False,
                "The wolf was seen in the Noto style. The split 'held_out_concepts' tests what "
                "you describe.",
            ),
            Choice(
                "Whether the model has memorised the 3D wolf",
                False,
                "It cannot have: that picture was never shown. A prompt from the training split "
                "tests memory.",
            ),
        ),
    ),
    Question(
        "01.q5",
        "Why do the tiles keep their alpha channel?",
        (
            Choice(
                "So that any background colour can be put behind them, and be part of the caption",
                True,
                "Yes: one tile gives twelve honest pairs of picture and caption, with soft edges.",
            ),
            Choice(
                "Because the model draws pictures with transparency",
                False,
                "The model draws three colours. Alpha is used up when the tile is put on its "
                "background.",
            ),
            Choice(
                "To save disk space",
                False,
                "It costs a fourth byte a pixel. It is kept because it gives more pairs and clean"
                " edges.",
            ),
        ),
    ),
    Question(
        "01.q6",
        "At 512 pixels, how much more does one pass of the paper's generator cost at f8 than at "
        "f32?",
        (
            Choice(
                "About 23 times",
                True,
                "Yes: 16 times the tokens, so 16 times the linear layers, and 256 times the "
                "attention, which is a small part at 256 tokens.",
            ),
            Choice(
                "256 times",
                False,
                "That is attention alone. With 256 tokens attention is under 4 % of a block, so "
                "its 256 counts little.",
            ),
            Choice(
                "16 times",
                False,
                "That is the number of tokens, and what the linear layers cost. Attention adds "
                "the rest: it is 37 % of a block at 4,096 tokens.",
            ),
        ),
    ),
)

TERMS = {
    "concept": "What an emoji shows: 'wolf', 'red apple'. One concept exists in up to four styles.",
    "style": "Who drew it and how: 3D, flat, Noto or blob.",
    "alpha": "How much of a pixel the emoji covers: 0 nothing, 255 all of it.",
    "held-out": "Kept away from training, so that it can be used for an honest test.",
    "leak": "When the test holds something that training has seen, for example the same concept in "
    "another style.",
    "compression factor": "f: pixels of height (and of width) that become one token.",
    "PSNR": (
        "Peak signal-to-noise ratio in dB: 10 log10(range² / mean squared error). Higher is "
        "closer; 6 dB is half the error."
    ),
    "MSE": "Mean squared error: the average of the squared differences of all values.",
    "latent": (
        "The vector of c numbers that an encoder gives for each place of the token grid, before "
        "it becomes a token."
    ),
    "FLOP": "One floating-point addition or multiplication. A multiply-add is two.",
}
