"""Lesson 02: five questions on shortcuts, linear attention and the bottleneck, and the terms."""

from dcar_edu.course.quiz import Choice, Question

QUIZ = (
    Question(
        "02.q1",
        "Why has the shortcut around a halving no parameters?",
        (
            Choice(
                "So that a picture gets through before anything is learnt, and the gradient comes "
                "back the same way",
                True,
                "Yes. The convolution beside it learns only what the plain average lacks. With "
                "weights at random it would be one more thing that mixes everything up.",
            ),
            Choice(
                "To save memory",
                False,
                "It saves little: one convolution beside it has thousands of times more numbers "
                "than a shortcut could need. What counts is where training starts.",
            ),
            Choice(
                "Because the shape changes, and no layer can follow that",
                False,
                "A 1x1 convolution could change the channels. It would just start at random, and "
                "then nothing gets through untouched.",
            ),
        ),
    ),
    Question(
        "02.q2",
        "A halving moves 2 x 2 pixels of each channel into 4 channels; these 4 shall become 2. "
        "What does the shortcut average?",
        (
            Choice(
                "Pairs of pixels side by side, the upper pair and the lower pair",
                True,
                "Yes. The order is (channel, row, column), so neighbours in the list are "
                "neighbours in a row: channels 0 and 1 are the upper left and the upper right.",
            ),
            Choice(
                "The square of four pixels",
                False,
                "That happens when 4 become 1, that is when the number of channels stays the same "
                "over the halving. Then it equals avg_pool2d.",
            ),
            Choice(
                "Pairs of pixels one above the other",
                False,
                "Those are channels 0 and 2 of the four. A group holds channels that stand side "
                "by side, 0 and 1.",
            ),
        ),
    ),
    Question(
        "02.q3",
        "When is the linear form of the attention cheaper than the quadratic one?",
        (
            Choice(
                "When there are more places than the width of a head (n > d)",
                True,
                "Yes: n·d·d against n·n·d. With heads of width 32 they cost the same at 32 places; "
                "the library changes over there.",
            ),
            Choice(
                "Always",
                False,
                "For 4 places and width 32 the table of keys and values is 32 x 32, the table of "
                "queries and keys only 4 x 4.",
            ),
            Choice(
                "Never for the same numbers: it is an approximation",
                False,
                "Both forms give the same numbers, only the brackets are set in another place. "
                "What differs from ordinary attention is ReLU instead of softmax.",
            ),
        ),
    ),
    Question(
        "02.q4",
        "The paper's first stage has depth 0: there is no block at full resolution. Why?",
        (
            Choice(
                "Blocks there would cost the most, and the first halving can be done by the stem",
                True,
                "Yes. At full resolution there are four times as many places as one stage later, "
                "and a pixel alone says little. The stem halves with one convolution.",
            ),
            Choice(
                "Because a depth of 0 gives a better reconstruction",
                False,
                "It gives a cheaper network. More blocks at full resolution could only help, at a "
                "price that nobody wants to pay.",
            ),
            Choice(
                "Because the shortcut cannot start from 3 channels",
                False,
                "It could: 3 x 4 = 12 channels, averaged to any number that divides 12. The stem "
                "just has none in the released code.",
            ),
        ),
    ),
    Question(
        "02.q5",
        "At f32 a square of 32 x 32 pixels, 3,072 numbers, becomes 32 numbers. What must go?",
        (
            Choice(
                "What cannot be guessed from other pictures: noise, the exact place of fine hairs",
                True,
                "Yes. What all emoji share goes into the weights, so the 32 numbers say only which "
                "of the likely squares it is. Fine detail that can be anything is lost first.",
            ),
            Choice(
                "Nothing, 32 numbers with decimals can hold 3,072 bytes",
                False,
                "On paper a real number can hold anything. A network trained with small steps "
                "cannot read its tenth digit, and lesson 03 keeps 10 to 14 bits of all 32.",
            ),
            Choice(
                "The colours",
                False,
                "Colours of large areas are cheap and matter most for the error, so they are kept "
                "first.",
            ),
        ),
    ),
)

TERMS = {
    "autoencoder": "Two networks trained together: an encoder makes a picture small, a decoder "
    "makes it large again.",
    "bottleneck": "The place of an autoencoder with the fewest numbers; here the latent.",
    "shortcut": "A way around a layer on which values pass unchanged or simply averaged; its "
    "result is added to the layer's.",
    "space to depth": "Moving the pixels of each small square into channels: smaller picture, "
    "more channels, nothing lost. Torch calls it pixel_unshuffle, its inverse pixel_shuffle.",
    "stem": "The first layer of the encoder (and the last of the decoder), next to the pixels.",
    "depth": "How many blocks a stage has.",
    "linear attention": "Attention whose weights are products of queries and keys after ReLU, so "
    "that keys and values can be multiplied first: cost n·d·d instead of n·n·d.",
}
