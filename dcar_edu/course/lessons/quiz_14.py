"""Lesson 14: five questions on editing, and the terms."""

from dcar_edu.course.quiz import Choice, Question

QUIZ = (
    Question(
        "14.q1",
        "Paper check. The paper asks whether its residual head hinders editing. Which numbers "
        "would show it?",
        (
            Choice(
                "The FID of full drawings, with the head and without",
                False,
                "It says how good drawings are. Nothing in it was kept, so nothing was edited.",
            ),
            Choice(
                "PSNR of the edited cells and the step of colour at their border, with drawn, no "
                "and true residuals on the same tokens; and the share of time in the head",
                True,
                "Yes. The same tokens in all three, so that only residuals differ; the true ones "
                "say how much there is to gain.",
            ),
            Choice(
                "The diffusion loss of the head on hidden tokens",
                False,
                "It says how well noise is guessed. Whether a picture is better is another "
                "question (lesson 09).",
            ),
        ),
    ),
    Question(
        "14.q2",
        "Cells have 32 pixels. How many of them can a square of 40 x 40 pixels touch?",
        (
            Choice(
                "Always 4",
                False,
                "Often. But 40 pixels can begin on the last pixel of one cell, cover the next "
                "one whole, and end in a third.",
            ),
            Choice(
                "1 to 4",
                False,
                "40 pixels do not fit into 32, so it touches at least two a side: 2 x 2.",
            ),
            Choice(
                "4, 6 or 9",
                True,
                "Yes: two or three a side. Nine cells are 96 x 96 pixels, nearly six times the "
                "square that was asked for.",
            ),
        ),
    ),
    Question(
        "14.q3",
        "Why is there a seam at the edges of cells when kept pixels are copied from the original?",
        (
            Choice(
                "There the decoder's pixels meet the original's, and the decoder never gives back "
                "the original exactly",
                True,
                "Yes. Even an edit that guesses every token right has this seam: it is the "
                "tokenizer's error, cut off at a straight line.",
            ),
            Choice(
                "The transformer does not see the kept tokens",
                False,
                "It sees all of them: only redrawn tokens are hidden.",
            ),
            Choice(
                "The residual head treats each token alone",
                False,
                "It does, but with true residuals, or none, the seam is there too.",
            ),
        ),
    ),
    Question(
        "14.q4",
        "Why must kept tokens keep their residual as well as their id?",
        (
            Choice(
                "Because the transformer reads residuals",
                False,
                "It reads ids only.",
            ),
            Choice(
                "Because the residual belongs to the picture that was given: a drawn one would "
                "change what was to stay, and what lies beside it",
                True,
                "Yes. A decoder sees neighbours, so a changed residual in a kept cell also moves "
                "pixels inside the redrawn ones.",
            ),
            Choice(
                "Because the head cannot draw residuals for known tokens",
                False,
                "It can, and does: it runs on all tokens. We throw those away.",
            ),
        ),
    ),
    Question(
        "14.q5",
        "What does compressing by 32 cost in editing, compared with 8?",
        (
            Choice(
                "Time: more tokens must be drawn",
                False,
                "The other way round: f8 has 16 times as many tokens.",
            ),
            Choice(
                "Nothing: the mask is given in pixels",
                False,
                "The mask is, the edit is not: it grows to whole cells.",
            ),
            Choice(
                "Precision: the smallest edit is 1,024 pixels instead of 64",
                True,
                "Yes. Whoever wants to change an eye changes half of a face.",
            ),
        ),
    ),
)

TERMS = {
    "inpainting": "Drawing a part of a picture again so that it fits the rest.",
    "outpainting": "Drawing around a picture: the known tokens lie on a larger grid.",
    "variation": "A picture with a share of its tokens drawn again, scattered all over it.",
    "seam": "A visible border where an edit meets what was kept.",
    "pasting": "Copying the original's pixels wherever nothing was redrawn, bit for bit.",
}
