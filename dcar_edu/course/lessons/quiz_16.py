"""Lesson 16: five questions on a model of one's own, and the terms."""

from dcar_edu.course.quiz import Choice, Question

QUIZ = (
    Question(
        "16.q1",
        "You have 12 pictures of your dog and fine-tune on all of them. Which sentence can you "
        "honestly write into the card?",
        (
            Choice(
                "The model has learnt to draw my dog",
                False,
                "Perhaps it recites twelve pictures. Nothing was held out, so nothing can tell.",
            ),
            Choice(
                "It gives the twelve training pictures back at so many dB; about anything else "
                "nothing was measured",
                True,
                "Yes. Twelve are too few to hold some out and still say a number with a narrow "
                "interval. So say what was measured, and what was not.",
            ),
            Choice(
                "The loss fell, so it generalises",
                False,
                "The loss on training pictures falls when they are learnt by heart, too.",
            ),
        ),
    ),
    Question(
        "16.q2",
        "Why do encoder and codes stay frozen in fine-tuning?",
        (
            Choice(
                "They have too few weights to matter",
                False,
                "The encoder has millions. They could learn, and that is the danger.",
            ),
            Choice(
                "Training them would be slow",
                False,
                "A little. But a fast way to a broken model is no gain.",
            ),
            Choice(
                "They decide what a token id means; with others, all that the generator knows "
                "about ids is wrong",
                True,
                "Yes. The decoder may learn to draw an id better, as long as the id stands for the "
                "same thing. That is why the fingerprint looks at encoder and codes alone.",
            ),
        ),
    ),
    Question(
        "16.q3",
        "You collected 60 pictures from web pages. May you publish the model?",
        (
            Choice(
                "Yes: a model holds no pictures",
                False,
                "A small one that learnt 60 pictures can give some of them back nearly as they "
                "are. You have seen it in this lesson.",
            ),
            Choice(
                "Only if whoever owns the pictures allows it, or a licence does; who owns them and "
                "which licence it is belongs into the card",
                True,
                "Yes. And people in the pictures have a say of their own, whoever took them.",
            ),
            Choice(
                "Yes, if you do not sell it",
                False,
                "Publishing is publishing. Some licences allow it without money, most silence does "
                "not.",
            ),
        ),
    ),
    Question(
        "16.q4",
        "What must a model card say that the weights cannot?",
        (
            Choice(
                "The number of weights and the size of the pictures",
                False,
                "Both can be read from the files.",
            ),
            Choice(
                "The loss of the last step",
                False,
                "It says little to somebody who has another model, data set or loss.",
            ),
            Choice(
                "What it learnt from and by whose leave, how good it is on pictures it has not "
                "seen, what it does badly, and what it is not for",
                True,
                "Yes. All of it is known to you and to nobody else, once you have published.",
            ),
        ),
    ),
    Question(
        "16.q5",
        "Which of these do you leave out when you publish?",
        (
            Choice(
                "States of the optimizer, logs, and the training pictures",
                True,
                "Yes. States only serve to go on training, logs name your folders, and pictures "
                "need a leave of their own. `share` sends weights, configs and the card.",
            ),
            Choice(
                "The tokenizer: everybody has it",
                False,
                "Nobody has yours: its decoder learnt. Without it the pictures are others.",
            ),
            Choice(
                "The failures, so that the page looks better",
                False,
                "They save others the time that you have spent.",
            ),
        ),
    ),
)

TERMS = {
    "fine-tuning": "Training a trained model further, on less and other data.",
    "forgetting": "Losing what was learnt before while learning something new.",
    "group split": "Holding out whole groups, such as all pictures of one thing.",
    "model card": "A page beside the weights: data, rights, training, numbers, limits, use.",
    "dry run": "Saying what would be done, without doing it.",
    "Hub": "A public store of models and data sets (Hugging Face), read and written by name.",
}
