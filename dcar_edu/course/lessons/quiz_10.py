"""Lesson 10: five questions on the residual head and both losses, and the terms."""

from dcar_edu.course.quiz import Choice, Question

QUIZ = (
    Question(
        "10.q1",
        "Paper check. Your pictures are blocky: each token's square has a slightly wrong shade. "
        "What do you check?",
        (
            Choice(
                "The residual head: is it on, is its scale the tokenizer's, and does it read the "
                "hidden states of the last pass?",
                True,
                "Yes. Codes alone leave an error in each square, and wrong residuals add one. "
                "Compare with residual_steps=0 first.",
            ),
            Choice(
                "The text encoder: it may have cut the prompt",
                False,
                "A cut prompt gives another picture, not a blocky one.",
            ),
            Choice(
                "The order in which tokens are revealed",
                False,
                "A bad order gives tokens that do not fit each other. Shades within well-fitting "
                "tokens come from the residuals.",
            ),
        ),
    ),
    Question(
        "10.q2",
        "Which hidden states does the residual head read?",
        (
            Choice(
                "Those of the first step, when nothing is decided",
                False,
                "They know the prompt only. Nothing of this picture's own tokens is in them.",
            ),
            Choice(
                "Those of one more pass over the finished tokens",
                False,
                "That is an option (extra_pass). The released model saves this pass.",
            ),
            Choice(
                "Those of the last unmasking step, whose input still hides some tokens",
                True,
                "Yes: 67 of 256 tokens are still hidden in its input. Training hides tokens too, "
                "so the head has learnt to read such states.",
            ),
        ),
    ),
    Question(
        "10.q3",
        "Why does the diffusion loss train all tokens, and the token loss mostly hidden ones?",
        (
            Choice(
                "A visible token's id is given away, its residual is not: only ids enter the "
                "transformer",
                True,
                "Yes. Guessing an id that one sees teaches little. A residual has to be guessed "
                "for every token, and in drawing it is needed for every token.",
            ),
            Choice(
                "Because residuals of hidden tokens are not known in training",
                False,
                "They are known for all tokens: the tokenizer has written them down.",
            ),
            Choice(
                "To make the batch larger; it has no other effect",
                False,
                "It is more rows, but the point is another: in drawing, the head works on tokens "
                "that are already known, too.",
            ),
        ),
    ),
    Question(
        "10.q4",
        "In the paper, hybrid drawing makes 10.3 pictures a second and discrete drawing 11.4. What "
        "does the difference buy?",
        (
            Choice(
                "Larger pictures",
                False,
                "Both draw 512 x 512 pixels.",
            ),
            Choice(
                "A gFID of 5.50 instead of 6.71, and a GenEval of 0.69 instead of 0.66",
                True,
                "Yes: about a tenth of the time for a fifth of the gFID. All residual steps run on "
                "a small network, for all tokens at once.",
            ),
            Choice(
                "Nothing: the head only helps reconstruction",
                False,
                "Reconstruction gains most (rFID 1.60 instead of 5.13), and drawing gains as well.",
            ),
        ),
    ),
    Question(
        "10.q5",
        "Why are residuals divided by their rms before the diffusion loss?",
        (
            Choice(
                "So that the loss becomes smaller",
                False,
                "The loss is about the noise, which has variance 1 whatever the scale.",
            ),
            Choice(
                "So that they lie on the unit sphere, like the codes",
                False,
                "They do not: a residual is a short step from a code to a latent.",
            ),
            Choice(
                "So that data and noise have the same size; without it nearly all times would "
                "look like pure noise",
                True,
                "Yes. At an rms of 0.1 half of the schedule would drown the data. After drawing, "
                "the scale is multiplied back.",
            ),
        ),
    ),
)

TERMS = {
    "residual head": "The small network that draws each token's residual by diffusion.",
    "adaLN": "A norm whose shift, scale and gate are told by a condition. With all of them at 0 "
    "its block changes nothing (adaLN-Zero).",
    "residual scale": "The rms of the residuals, 0.107 in the released model: divided out before "
    "training, multiplied back after drawing.",
    "gFID": "Distance between real and generated pictures in a network's eyes; lower is better.",
    "GenEval": "A test of prompts: does a detector find objects, counts, colours and places "
    "as asked?",
}
