"""Lesson 11: five questions on growing from 256 to 512 pixels, and the terms."""

from dcar_edu.course.quiz import Choice, Question

QUIZ = (
    Question(
        "11.q1",
        "A generator trained on 8x8 tokens shall draw 16x16. What must change in its weights?",
        (
            Choice(
                "Nothing: positions are computed, and every other weight works on one token or on "
                "pairs of tokens",
                True,
                "Yes. No weight counts tokens. What it has learnt about neighbours does not fit "
                "yet, and that is what fine-tuning is for.",
            ),
            Choice(
                "The position table must be stretched to 256 rows",
                False,
                "There is no table to stretch: the code of a place is computed from its "
                "coordinates, for any grid. A model with a learnt table would need this.",
            ),
            Choice(
                "The token head needs four times as many outputs",
                False,
                "It names one token at a time out of the same codebook, however many tokens "
                "there are.",
            ),
        ),
    ),
    Question(
        "11.q2",
        "Why can a generator over 1-D tokens not take this path?",
        (
            Choice(
                "1-D tokens need a larger codebook",
                False,
                "A codebook of the same size is enough. The number of tokens is the trouble.",
            ),
            Choice(
                "Its number of tokens is fixed and none of them has a place: a larger picture "
                "gives no larger grid to go on with",
                True,
                "Yes. A larger picture needs a new tokenizer with other tokens, and the generator "
                "starts again from nothing.",
            ),
            Choice(
                "A transformer cannot read a row of tokens",
                False,
                "It can, and does: our grid enters as a row too. But each of our tokens brings "
                "its place along.",
            ),
        ),
    ),
    Question(
        "11.q3",
        "Someone compares 50,000 steps of fine-tuning at 512 px with 50,000 steps from scratch at "
        "512 px. What is unfair?",
        (
            Choice(
                "The pre-training at 256 px is not counted",
                True,
                "Yes. It has to be paid by someone. The paper's 760 GPU hours hold both parts.",
            ),
            Choice(
                "Nothing: both arms see equally many pictures at 512 px",
                False,
                "That is just what makes it unfair: one of them has seen many more at 256 px "
                "before.",
            ),
            Choice(
                "A step from scratch costs more than a step of fine-tuning",
                False,
                "At the same resolution and batch a step costs the same, whatever went before.",
            ),
        ),
    ),
    Question(
        "11.q4",
        "The paper speaks of 1.9 times fewer GPU hours. How does the number come about?",
        (
            Choice(
                "A pass at 16x16 costs 4.09 times one at 8x8, and half of 4.09 is about 1.9",
                False,
                "The cost of a pass is only one part. How many steps each run needs is the other.",
            ),
            Choice(
                "1,440 GPU hours for the model trained at 512 px alone, divided by 760 hours for "
                "both parts of the other one",
                True,
                "Yes, and the cheaper one is the better one as well: gFID 5.50 against 6.64. So "
                "it is not a ratio at equal quality.",
            ),
            Choice(
                "200,000 steps divided by 50,000, times the ratio of the costs",
                False,
                "Steps at different resolutions cost different amounts. Hours, or FLOPs, can be "
                "added; steps cannot.",
            ),
        ),
    ),
    Question(
        "11.q5",
        "The same trick once more, from 512 to 1024 px. What could break?",
        (
            Choice(
                "The coordinates no longer fit, because they end at 16",
                False,
                "They still run from 0 to 16, only closer together: 0, 0.5, 1, ...",
            ),
            Choice(
                "Neighbours get codes that are hard to tell apart, attention grows with the square "
                "of 1,024 tokens, and 12 steps reveal many tokens at once",
                True,
                "Yes: three different things, and each can be measured. Of 1,024 tokens every step "
                "would reveal 55 or more together, and the last one 268.",
            ),
            Choice(
                "Nothing can: the weights fit, so the pictures are good",
                False,
                "They fit at once, but the first picture at a new size is poor. You have seen one.",
            ),
        ),
    ),
)

TERMS = {
    "cross-resolution training": "Learning at a low resolution first, then going on with the same "
    "weights at a higher one.",
    "1-D tokenizer": "A tokenizer whose fixed number of tokens each describe the whole picture; "
    "none of them has a place.",
    "zero-shot": "Asked to do something that it was never trained for.",
    "equal compute": "A comparison in which both arms may spend the same number of "
    "floating-point operations, everything counted that one of them needs.",
}
