"""Lesson 08: five questions on drawing in few steps, and the terms."""

from dcar_edu.course.quiz import Choice, Question

QUIZ = (
    Question(
        "08.q1",
        "Paper check. How does a MaskGIT-style model need fewer steps than one that draws token "
        "by token, as GPT does?",
        (
            Choice(
                "Its network is smaller, so each step is cheaper",
                False,
                "The network may be just as large. What falls is the number of passes.",
            ),
            Choice(
                "In each step it guesses all hidden tokens at once and keeps the surest; it looks "
                "both ways, so any set of places can be next",
                True,
                "Yes: 64 tokens in 12 steps. Tokens revealed in one step do not see each other, "
                "which is why only sure ones are taken.",
            ),
            Choice(
                "It skips tokens that are not needed and leaves them hidden",
                False,
                "In the end every token is drawn. No place is left out.",
            ),
        ),
    ),
    Question(
        "08.q2",
        "With the arccos schedule the last of 12 steps reveals a quarter of all tokens. Why does "
        "that work?",
        (
            Choice(
                "The last tokens lie at the border of the picture, where nobody looks",
                False,
                "They can lie anywhere: confidence decides, not the place.",
            ),
            Choice(
                "The last step runs the network several times",
                False,
                "It is one pass like any other.",
            ),
            Choice(
                "By then three quarters of the picture are known and decide nearly all of the rest",
                True,
                "Yes. The risk of a step is that its tokens do not see each other. The more is "
                "known, the less they have to agree on.",
            ),
        ),
    ),
    Question(
        "08.q3",
        "You raise the guidance from 2 to 8. What happens to pictures of one prompt?",
        (
            Choice(
                "They follow the prompt more closely and become more alike",
                True,
                "Yes. What the text makes likelier is pushed up again and again, and the rest is "
                "hardly drawn any more. Variety is the price.",
            ),
            Choice(
                "They become more varied, as the logits grow",
                False,
                "Larger logits make the largest win more often: variety falls.",
            ),
            Choice(
                "Nothing: only the residuals are guided",
                False,
                "Tokens and residuals are both guided, with the same form.",
            ),
        ),
    ),
    Question(
        "08.q4",
        "Our guidance is s = 4.5 in cond + s (cond - uncond). Somebody uses a library in which "
        "1 means no guidance. Which number is the same there?",
        (
            Choice("3.5", False, "There 1 is off, here 0 is. So the number grows by one."),
            Choice("4.5", False, "With 4.5 there, the push would be 3.5 in our form."),
            Choice(
                "5.5",
                True,
                "Yes: uncond + w (cond - uncond) is ours with w = s + 1. Always say which form "
                "a number belongs to.",
            ),
        ),
    ),
    Question(
        "08.q5",
        "An oracle that knows the picture rebuilds it in any number of steps. What does this "
        "test show about a sampler, and what not?",
        (
            Choice(
                "That the sampler is right in every respect",
                False,
                "An oracle answers the same whatever it is shown. A sampler that forgets known "
                "tokens would pass. That takes a network whose guesses change.",
            ),
            Choice(
                "That each token is revealed, at its own place; not that known tokens are kept",
                True,
                "Yes. So the check has a second network whose guesses change with every step, and "
                "a spy that counts the calls.",
            ),
            Choice(
                "That the number of steps does not matter for quality",
                False,
                "It does not matter for an oracle. A real network is unsure, and then fewer steps "
                "cost quality.",
            ),
        ),
    ),
)

TERMS = {
    "sampler": "The loop that turns guesses of a network into a finished grid of tokens.",
    "confidence": "How sure a guess is: here its logit, with some noise. The surest are revealed.",
    "remasking": "Hiding the unsure guesses of a step again, so that later steps guess them anew.",
    "Gumbel noise": "Noise on logits that makes taking the largest a draw from the softmax.",
    "temperature": "How much noise is added: 0 always takes the best guess.",
    "oracle": "A pretend network that knows the answer; it tests the loop around it.",
}
