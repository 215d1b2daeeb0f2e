"""Lesson 06: five questions on words that steer a picture, and the terms."""

from dcar_edu.course.quiz import Choice, Question

QUIZ = (
    Question(
        "06.q1",
        "Why is the text encoder frozen?",
        (
            Choice(
                "It has learnt language from far more text than our captions hold; training on "
                "them would spoil that, and its states can be computed once",
                True,
                "Yes. Our captions are a few thousand, all of one kind. Frozen states can also be "
                "kept on disk.",
            ),
            Choice(
                "It has no weights that could be trained",
                False,
                "MiniLM has 22.7 million. They could be trained, and would forget most words.",
            ),
            Choice(
                "Gradients cannot pass through cross-attention",
                False,
                "They do: the layers that read the states in the transformer learn that way.",
            ),
        ),
    ),
    Question(
        "06.q2",
        "What is the null text for?",
        (
            Choice(
                "It fills short prompts up to the length of the longest",
                False,
                "That is padding, and padding is masked. The null text is read like a prompt.",
            ),
            Choice(
                "It is drawn when a prompt is empty",
                False,
                "An empty prompt still has its start and end pieces, and is read as it is.",
            ),
            Choice(
                "It stands for 'no prompt': trained now and then, it gives the guess that guidance "
                "pushes away from",
                True,
                "Yes. One network learns both, because a tenth of the texts are dropped.",
            ),
        ),
    ),
    Question(
        "06.q3",
        "Padding is not masked in the cross-attention. How does it show?",
        (
            Choice(
                "A picture depends on its neighbours in the batch: a longer prompt beside it "
                "changes it",
                True,
                "Yes. More padding takes more of the attention. The same prompt alone and in a "
                "batch then gives two pictures.",
            ),
            Choice(
                "The training stops with an error",
                False,
                "Nothing stops, which is what makes this fault so common.",
            ),
            Choice(
                "Only prompts that are cut at the end are drawn wrongly",
                False,
                "A prompt that is cut has no padding at all.",
            ),
        ),
    ),
    Question(
        "06.q4",
        "A one-shot network knows the chance of every code at every place, and is right. Why does "
        "it draw chimeras for an open prompt?",
        (
            Choice(
                "It has too few layers",
                False,
                "It is right about every place by itself. More layers cannot make it more right.",
            ),
            Choice(
                "Each token is drawn by itself: half of them may come from one possible picture, "
                "half from another",
                True,
                "Yes. What is missing is agreement. Revealing some tokens first and looking at "
                "them brings it: that is masked modelling.",
            ),
            Choice(
                "Its temperature is too low",
                False,
                "At any temperature the places know nothing of each other's choice.",
            ),
        ),
    ),
    Question(
        "06.q5",
        "What does MiniLM lose against T5?",
        (
            Choice(
                "Nothing: it is newer",
                False,
                "It is smaller and was trained for another task. We use it because it ships in a "
                "package and works offline.",
            ),
            Choice(
                "It reads English only, T5 reads all languages",
                False,
                "Both learnt mostly from English. The difference lies elsewhere.",
            ),
            Choice(
                "Order and binding: who stands left of whom, and which colour belongs to what",
                True,
                "Yes. It was trained to say whether two sentences mean about the same, and a "
                "change of order hardly moves it.",
            ),
        ),
    ),
)

TERMS = {
    "text encoder": "A frozen language model that turns each word piece of a prompt into a vector.",
    "word piece": "A word or a part of one; what a text encoder reads.",
    "cross-attention": "Attention in which places of the picture ask and words answer.",
    "null text": "What is read instead of a prompt when there is none: a fixed table of vectors.",
    "padding": "Filling short prompts to a common length; masked, so that it counts for nothing.",
    "chimera": "A picture whose parts come from different possible pictures.",
}
