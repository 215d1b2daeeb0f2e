"""Lesson 07: five questions on hiding and guessing tokens, and the terms."""

from dcar_edu.course.quiz import Choice, Question

QUIZ = (
    Question(
        "07.q1",
        "A generator guesses 5 % of the hidden tokens right. Can it draw?",
        (
            Choice(
                "Yes: many tokens would be right at a place, and training counts only one of them",
                True,
                "Yes. Codes near the true one look nearly the same, and an open prompt allows many "
                "pictures. Look at samples, not only at the accuracy.",
            ),
            Choice(
                "No: 95 % of every picture would be wrong",
                False,
                "A token that differs from the original is not therefore wrong: it may fit "
                "another picture of the same prompt just as well.",
            ),
            Choice(
                "Only with guidance switched off",
                False,
                "Guidance has nothing to do with it. It changes which tokens are drawn.",
            ),
        ),
    ),
    Question(
        "07.q2",
        "The token loss starts at ln 1024 = 6.93 for 1,024 codes. What does that tell?",
        (
            Choice(
                "That the data are too hard for this network",
                False,
                "It says nothing about the data: no picture has been learnt yet.",
            ),
            Choice(
                "That the learning rate is too high",
                False,
                "At step 0 no step has been taken yet.",
            ),
            Choice(
                "That every code is thought equally likely: the token head starts at zero, as it "
                "should",
                True,
                "Yes. Any other number at the start is a fault worth finding before training.",
            ),
        ),
    ),
    Question(
        "07.q3",
        "Why must the output not depend on the ids under the mask?",
        (
            Choice(
                "It would make the network slower",
                False,
                "It would be just as fast. It would learn nothing, though.",
            ),
            Choice(
                "Otherwise it reads the answer in training, and has nothing to read in drawing",
                True,
                "Yes. The loss falls quickly and the pictures are noise. Changing hidden ids and "
                "comparing outputs finds such a leak at once.",
            ),
            Choice(
                "Because hidden ids are not known in training",
                False,
                "They are known: they are the targets. That is why they can leak.",
            ),
        ),
    ),
    Question(
        "07.q4",
        "Why does one look at the raw weights beside the moving average (EMA)?",
        (
            Choice(
                "An average with a long memory lags behind: early on it looks broken when the "
                "weights are fine",
                True,
                "Yes. Users of MAR waited for 100,000 steps. A warm-up of the decay shortens the "
                "lag, and a look at both shows it.",
            ),
            Choice(
                "Raw weights draw better pictures in the end",
                False,
                "Usually the average does: it is calmer than the last noisy step.",
            ),
            Choice(
                "The average cannot be stored in a checkpoint",
                False,
                "It can, and it is what we ship.",
            ),
        ),
    ),
    Question(
        "07.q5",
        "Why does every token of this transformer see all others, also those further right?",
        (
            Choice(
                "Because a causal mask cannot be used with text",
                False,
                "It can: models of the GPT kind do so.",
            ),
            Choice(
                "Because attention over all tokens is cheaper",
                False,
                "A causal mask saves work, if anything.",
            ),
            Choice(
                "A picture has no reading order, and in drawing any set of tokens may be known",
                True,
                "Yes. The hidden tokens lie anywhere, so whatever is known must be seen, on all "
                "sides.",
            ),
        ),
    ),
)

TERMS = {
    "masked modelling": "Hiding some tokens of a picture and training a network to guess them.",
    "mask ratio": "The share of tokens that is hidden; drawn anew for each picture in training.",
    "bidirectional": "Every token sees all others, before and behind.",
    "label smoothing": "A small share of the target is spread over all codes, so that the network "
    "is never asked to be certain.",
    "leak of ids": "A way by which hidden ids reach the output: the loss falls for no good reason.",
}
