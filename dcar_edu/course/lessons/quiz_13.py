"""Lesson 13: five questions on judges, features, intervals and what is still open; the terms."""

from dcar_edu.course.quiz import Choice, Question

QUIZ = (
    Question(
        "13.q1",
        "A model has the best FID on one benchmark of polished 3D renderings. Why is that weak "
        "evidence that it draws best?",
        (
            Choice(
                "FID is computed with random numbers and changes from run to run",
                False,
                "On fixed pictures it is one fixed number. Chance comes in by which pictures were "
                "drawn, and an interval says how much.",
            ),
            Choice(
                "FID asks whether two sets look alike. A model that only has the benchmark's look "
                "beats one that draws the right things in another look",
                True,
                "Yes: in section 4 wrong things in the right style beat right things in another "
                "style. A second benchmark in a second style, and a check of the content, would "
                "say more.",
            ),
            Choice(
                "FID compares each drawing with one picture, and there may be several right ones",
                False,
                "It compares sets, by mean and covariance. No drawing has a partner.",
            ),
        ),
    ),
    Question(
        "13.q2",
        "The judge of scenes finds 98 % of all things. Perfect pictures of two things: what do "
        "they score, about?",
        (
            Choice(
                "100 %, since the pictures are perfect",
                False,
                "A picture passes only if the judge finds what it asks for. Its misses count "
                "against the pictures.",
            ),
            Choice(
                "98 %, the judge's accuracy",
                False,
                "That is for one thing. Both must be found for the picture to pass.",
            ),
            Choice(
                "About 96 %: both must be found, and that is the ceiling of every model",
                True,
                "Yes, 0.98 x 0.98, if the misses have nothing to do with each other. So we print "
                "what real scenes score beside every score.",
            ),
        ),
    ),
    Question(
        "13.q3",
        "A paper reports FID 8.5. We measure 70 on the same pictures with EfficientNet features. "
        "What follows?",
        (
            Choice(
                "Nothing: the features differ, so the two numbers have different units. Ours is "
                "called fid_efficientnet for this reason",
                True,
                "Yes. It can be compared with other values on the same features, the same size "
                "of pictures and as many of them.",
            ),
            Choice(
                "Our pictures are about eight times worse",
                False,
                "Even the same pictures give other values on other features. The scale of a "
                "feature alone changes it.",
            ),
            Choice(
                "Nothing yet: multiply by 2048 / 1280, the numbers of features, to compare",
                False,
                "No factor does it. The features see other things, and spread differently.",
            ),
        ),
    ),
    Question(
        "13.q4",
        "Model A scores .42 [.36, .48] and model B .47 [.41, .53], on the same prompts. What does "
        "this forbid you to say?",
        (
            Choice(
                "That B is better: a difference of .05 may be chance here. It might be shown with "
                "more prompts, or by comparing prompt by prompt",
                True,
                "Yes. The intervals overlap widely. Paired differences, prompt by prompt, take "
                "the common part of the chance out.",
            ),
            Choice(
                "That they differ: overlapping intervals show that both are equally good",
                False,
                "They show nothing of the kind. Not being able to tell is not being equal.",
            ),
            Choice(
                "Nothing: B's score is higher, and both were measured fairly",
                False,
                "With another draw of as many prompts A might be ahead. The width says so.",
            ),
        ),
    ),
    Question(
        "13.q5",
        "Which check of the paper's claims is still open after this lesson?",
        (
            Choice(
                "Whether deep compression costs fewer tokens",
                False,
                "That is counting, done in lesson 01: 64 tokens at 256 px for f32, 1,024 for f8.",
            ),
            Choice(
                "Whether a large model trained on millions of pictures follows prompts it has "
                "never seen: ours is too small to say yes or no",
                True,
                "Yes. The method of measuring is here, with GenEval's rules and intervals; the "
                "model that could pass is not. Train one, and run the same command.",
            ),
            Choice(
                "Whether the tokenizer can redraw what it has not learnt",
                False,
                "Sections 7 and 9 measure it: unseen concepts, styles and even photographs come "
                "back, photographs worst.",
            ),
        ),
    ),
)

TERMS = {
    "Frechet distance": "Distance of two clouds of points that looks at their means and "
    "covariances only. FID is this on Inception features.",
    "recall at k": "How often the right answer is among the first k. R@1: it is the first.",
    "bootstrap": "Draw the measured values again and again, with repetition, to see how far "
    "chance may have moved a result.",
    "confidence interval": "Two ends between which a value may well lie, given the chance in the "
    "measurement; here at 95 %, by the bootstrap.",
    "SceneEval": "GenEval's protocol on our scenes: six tasks, 553 prompts, a detector that looks, "
    "and rules.",
    "ceiling": "What real pictures score with the same judge: no model can be expected to score "
    "more.",
    "reference set": "The pictures that drawings are compared with.",
}
