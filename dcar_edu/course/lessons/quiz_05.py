"""Lesson 05: four runs to diagnose, four questions on honest numbers, and the terms."""

from dcar_edu.course.quiz import Choice, Question

_COLLAPSE = "The codebook collapses"
_UNFROZEN = "The encoder was left unfrozen in the last stage"
_RIVAL_WINS = "The discriminator wins"
_WELL = "Nothing: all is well"

_SIGNS = {
    _COLLAPSE: "a collapse shows in the usage of the codes: it falls, and the discrete path stays "
    "poor while the hybrid path does well, because residuals repair what codes miss",
    _UNFROZEN: "an unfrozen encoder shows in the last stage only: the hybrid path goes on rising "
    "and the discrete path falls, because the latents walk away from their codes",
    _RIVAL_WINS: "a discriminator that wins shows in its loss: it goes to 0, and then both paths "
    "get worse together",
    _WELL: "when all is well both paths rise, many codes are in use, and the discriminator's loss "
    "stays well above 0",
}


def _diagnosis(number: int, letter: str, truth: str, why: str) -> Question:
    """One question about one of the four runs in the last figure."""
    choices = []
    for cause, sign in _SIGNS.items():
        said = f"Yes: {why}" if cause == truth else f"Look again: {sign}."
        choices.append(Choice(cause, cause == truth, said))
    text = f"Look at run {letter} in the figure of four runs. What went wrong?"
    return Question(f"05.q{number}", text, tuple(choices))


QUIZ = (
    _diagnosis(
        1,
        "A",
        _UNFROZEN,
        "up to the dotted line everything is as it should be. Then the hybrid path gains a little "
        "and the discrete path falls. This is the paper's warning: if rFID stalls or rises in the "
        "last stage, look whether the encoder is frozen.",
    ),
    _diagnosis(
        2,
        "B",
        _WELL,
        "both paths rise, 85 of 100 codes are in use, and neither network beats the other. The "
        "small step at the dotted line is what the decoder wins by reading both paths.",
    ),
    _diagnosis(
        3,
        "C",
        _RIVAL_WINS,
        "its loss is near 0, so it tells drawings from originals every time. What the decoder can "
        "still learn from it is noise. Start it later, give it a lower weight, or slow it down.",
    ),
    _diagnosis(
        4,
        "D",
        _COLLAPSE,
        "two of a hundred codes are left. The hybrid path hides it: the residual carries "
        "everything. So always look at the usage and at the discrete path.",
    ),
    Question(
        "05.q5",
        "You have 300 held-out pictures. Why do we report KID and not FID?",
        (
            Choice(
                "FID has a bias that depends on the number of pictures; unbiased KID has none",
                True,
                "Yes. FID fits a covariance of 1,280 x 1,280 numbers to 300 pictures. It comes out "
                "too high, by an amount that differs from model to model. KID is right on "
                "average, and its spread shows when pictures are too few.",
            ),
            Choice(
                "KID needs no network",
                False,
                "Both need features of a network. They differ in what they do with them.",
            ),
            Choice(
                "KID of 300 pictures is exact",
                False,
                "It is right on average, but it varies from one choice of 300 pictures to the "
                "next: it can even be negative. No bias does not mean no spread.",
            ),
        ),
    ),
    Question(
        "05.q6",
        "Paper check: limits. A text says: 'the three stages improve rFID from 1.92 to 1.60'. "
        "Which row of the paper's ablation does 1.92 come from?",
        (
            Choice(
                "Warm-up, then alternate training of everything, as HART does",
                True,
                "Yes: its row is 6.18 for the discrete path and 1.92 for the hybrid path. So the "
                "sentence compares three stages with the HART style, and only with that. "
                "Without warm-up the hybrid rFID is 1.76.",
            ),
            Choice(
                "Discrete learning and alternate fine-tuning without warm-up",
                False,
                "That row is 5.93 and 1.76. It is the smaller gap, so it matters which row one "
                "quotes.",
            ),
            Choice(
                "Direct training without any stages",
                False,
                "The paper has no such row. Our experiment has one, at a small size.",
            ),
        ),
    ),
    Question(
        "05.q7",
        "All arms of our experiment see equally many pictures. What is still unequal?",
        (
            Choice(
                "Among others, the work: a stage that trains only the decoder costs less",
                True,
                "Yes. Equal pictures is one way to be fair; equal FLOPs or equal minutes are "
                "others. Also unequal: how often each path was practised, and how well learning "
                "rate and revival of codes, chosen once, fit each arm.",
            ),
            Choice(
                "Nothing: that is what equal means",
                False,
                "Only the pictures are equal. The arms differ in FLOPs, in minutes, and in how "
                "many steps the decoder practises each path.",
            ),
            Choice(
                "The starting weights",
                False,
                "These are equal too, within one seed. That is why seeds can be compared in pairs.",
            ),
        ),
    ),
    Question(
        "05.q8",
        "We measure with EfficientNet features. May we call the result rFID and put it beside "
        "the paper's 1.60?",
        (
            Choice(
                "No: another network, another statistic, other pictures",
                True,
                "Yes, no. rFID means the Frechet distance on Inception features of reconstructions"
                ". We write 'rKID on EfficientNet features' and compare only our own arms with it.",
            ),
            Choice(
                "Yes, if we multiply by a constant",
                False,
                "There is no such constant. Two networks may even put two models in a different "
                "order.",
            ),
            Choice(
                "Yes, because both measure reconstructions",
                False,
                "The name says what was measured and how. A number under a wrong name will be "
                "compared with numbers it has nothing to do with.",
            ),
        ),
    ),
)

TERMS = {
    "perceptual loss": "Distance of two pictures in the features of a frozen network, not in "
    "pixels.",
    "feature": "A number that some layer of a network computes from a picture.",
    "tap": "A layer of a frozen network whose output we take to compare pictures.",
    "discriminator": "A second network that learns to tell originals from drawings.",
    "GAN": "Generative adversarial network: a network that draws and a discriminator, each "
    "trained against the other.",
    "hinge loss": "A loss that is 0 as soon as a score is on the right side by a margin.",
    "KID": "Kernel inception distance: how different two sets of pictures are, from products of "
    "their features; without bias. Ours uses EfficientNet features and says so.",
    "FID": "Frechet inception distance: the same question, answered with means and covariances of "
    "Inception features; biased when pictures are few.",
    "rKID": "KID between originals and their reconstructions. rFID likewise.",
    "bias": "Being wrong on average, however often one repeats the measurement.",
    "ablation": "An experiment that leaves out or changes one part at a time, to see what it is "
    "good for.",
    "arm": "One of the variants that an experiment compares.",
    "paired": "Compared seed by seed: the same start, the same pictures, only the arm differs.",
}
