"""Lesson 09: five questions on noise, clipping and steps, and the terms."""

from dcar_edu.course.quiz import Choice, Question

QUIZ = (
    Question(
        "09.q1",
        "Why does the network guess the noise, and not the clean data?",
        (
            Choice(
                "Its target then has the same size at every time: mean 0, variance 1. Either "
                "guess can be turned into the other by a formula",
                True,
                "Yes. One loss fits all times, and an answer of 0 costs exactly 1. Where almost "
                "only noise is left the two guesses differ in what an error costs.",
            ),
            Choice(
                "Because the clean data are not known in training",
                False,
                "They are known: we added the noise ourselves. Networks that guess the data exist, "
                "and so do mixtures of both.",
            ),
            Choice(
                "Because noise has no structure and is easier to guess",
                False,
                "Pure noise cannot be guessed at all. What is guessed is which part of this input "
                "is noise, and for that the structure of the data must be known.",
            ),
        ),
    ),
    Question(
        "09.q2",
        "At t = 999 a guess of the noise is wrong by 0.001. What happens to the clean data that "
        "it implies, and what helps?",
        (
            Choice(
                "Hardly anything: 0.001 is far below the noise itself",
                False,
                "The formula divides by the root of alpha-bar, which is 0.00005 there. "
                "The error becomes 20,291 times larger.",
            ),
            Choice(
                "They are wrong by about 20; clipping the implied data to a sensible range helps",
                True,
                "Yes: 0.001 x 20,291. With a bound the first steps only say in which direction "
                "the data lie, which is all that can be known there.",
            ),
            Choice(
                "They are wrong by about 20; more steps help, as errors then average out",
                False,
                "The first step starts at t = 999 however many follow, and one huge value is "
                "carried on from step to step.",
            ),
        ),
    ),
    Question(
        "09.q3",
        "The network learnt 1,000 times. Why may 20 steps be enough to draw a residual?",
        (
            Choice(
                "Because the other 980 times are never trained on",
                False,
                "All of them are trained on: a time is drawn for each row. Drawing may then visit "
                "any of them.",
            ),
            Choice(
                "Because one step back is exact, whatever its size",
                False,
                "It is exact for one given clean value. The longer the step, the more the "
                "network's single guess has to stand for many possible values.",
            ),
            Choice(
                "Given its hidden state, a residual has few possible values; long steps between "
                "them lose little",
                True,
                "Yes. The spread that is left to draw is small and simple. A whole picture, drawn "
                "pixel by pixel, would need more.",
            ),
        ),
    ),
    Question(
        "09.q4",
        "A picture of 256 tokens gets its residuals in 20 steps. How many times does the network "
        "run, one after the other (without guidance)?",
        (
            Choice(
                "20 times, each on all 256 tokens at once",
                True,
                "Yes. Given their hidden states the tokens do not depend on each other, so they "
                "are rows of one batch. Only the steps must wait for each other.",
            ),
            Choice(
                "5,120 times, once for each token and step",
                False,
                "That many rows are worked on, but 256 of them together: residuals of different "
                "tokens do not wait for each other.",
            ),
            Choice(
                "256 times, each with 20 steps in parallel",
                False,
                "It is the other way round: a step needs the result of the one before, tokens do "
                "not need each other.",
            ),
        ),
    ),
    Question(
        "09.q5",
        "Paper check. Drawing is slow, and the time is spent in the residual head. Which dial do "
        "you try first?",
        (
            Choice(
                "A narrower head, trained again",
                False,
                "It may help, and costs a training. There is a dial that costs nothing but a "
                "measurement.",
            ),
            Choice(
                "Fewer residual steps, with the quality measured at each setting",
                True,
                "Yes. The time grows in proportion to the steps, while the quality hardly changes "
                "beyond about 20. The released settings use 32, the paper's text 20.",
            ),
            Choice(
                "Fewer unmasking steps",
                False,
                "They cost time in the transformer. The residual head runs once, after the last "
                "of them.",
            ),
        ),
    ),
)

TERMS = {
    "diffusion": "A way to draw data: learn to take noise away a little at a time, then start from "
    "pure noise.",
    "alpha-bar": "The share of the data's variance that is left at a time: near 1 at t = 0, near 0 "
    "at t = 999.",
    "noise schedule": "The list of alpha-bars, one a time. Ours follows a cosine.",
    "ancestral sampling": "Drawing step by step, with fresh noise in every step but the last.",
    "respacing": "Visiting only some of the trained times when drawing, both ends included.",
    "clipping": "Cutting the implied clean data to a range that data can have, before stepping on.",
    "DDIM": "Drawing without fresh noise: the start alone decides the result.",
}
