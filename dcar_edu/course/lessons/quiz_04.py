"""Lesson 04: five questions on code, residual and the three stages, and the terms."""

from dcar_edu.course.quiz import Choice, Question

QUIZ = (
    Question(
        "04.q1",
        "What does each of the three stages fix?",
        (
            Choice(
                "A good latent space; then a codebook and stable token ids; then a decoder that "
                "reads both paths",
                True,
                "Yes, in this order. Each stage builds on what the one before has settled.",
            ),
            Choice(
                "Large shapes; then colours; then fine detail",
                False,
                "All stages see the same pictures and the same loss. What differs is the path, "
                "and which parts learn.",
            ),
            Choice(
                "The encoder; then the decoder; then the codebook",
                False,
                "Encoder and decoder learn together in the first two stages, the codebook in the "
                "second. Only the decoder learns in the third.",
            ),
        ),
    ),
    Question(
        "04.q2",
        "Why is the encoder frozen in stage 3?",
        (
            Choice(
                "So that every token id keeps its meaning, and latents stay near their codes",
                True,
                "Yes. An encoder that goes on learning moves its latents. The codes stay where "
                "they are, so residuals grow, and the same picture gets other token ids.",
            ),
            Choice(
                "Because it has finished learning: its loss is zero",
                False,
                "The loss is far from zero. The encoder could still lower it, at the price of "
                "other ids and larger residuals. That is what freezing forbids.",
            ),
            Choice(
                "To save memory and time, nothing else",
                False,
                "It does save time. But leave it unfrozen and token ids change: a generator that "
                "was trained on the old ids would draw nonsense.",
            ),
        ),
    ),
    Question(
        "04.q3",
        "Paper check. You train a tokenizer of your own and rFID (a distance between real and "
        "reconstructed pictures: lower is better) stalls or rises in the last stage. What do you "
        "check first?",
        (
            Choice(
                "Whether encoder and quantizer are really frozen: compare their weights before "
                "and after, bit by bit",
                True,
                "Yes. It is the failure sign of an encoder left unfrozen. Look at the cosine and "
                "at the share of token ids that stayed the same, too.",
            ),
            Choice(
                "Whether the codebook has enough codes",
                False,
                "Too few codes would hurt from stage 2 on. Here it went wrong in the last stage, "
                "where the codebook does not change at all.",
            ),
            Choice(
                "Whether the learning rate is too small",
                False,
                "A small rate makes progress slow. It does not make a good tokenizer worse.",
            ),
        ),
    ),
    Question(
        "04.q4",
        "On the alternating path one draw decides for the whole batch. What would go wrong in "
        "the check of exercise 04.2 with one draw a picture?",
        (
            Choice(
                "Nothing would break in the training, but it is another method: each step would "
                "mix both paths, and the paper's code takes one path a step",
                True,
                "Yes. It may work as well; nobody has shown that. We build what the paper's code "
                "does, so that numbers can be compared.",
            ),
            Choice(
                "The decoder cannot read pictures of both paths in one batch",
                False,
                "It can: every picture is decoded by itself, and both inputs have the same shape.",
            ),
            Choice(
                "The gradient could no longer reach the encoder",
                False,
                "In stage 3 the encoder is frozen, so nothing shall reach it. And on both paths "
                "gradients would flow.",
            ),
        ),
    ),
    Question(
        "04.q5",
        "What does the decoder get on each path?",
        (
            Choice(
                "Discrete: the code. Hybrid: code plus residual, which is exactly the unit latent",
                True,
                "Yes: both are grids of c numbers a place, so one decoder reads both.",
            ),
            Choice(
                "Discrete: the token id. Hybrid: the id and the residual side by side",
                False,
                "The decoder never sees an id. The id is looked up, and code and residual are "
                "added, not put side by side.",
            ),
            Choice(
                "Discrete: the code. Hybrid: the residual alone",
                False,
                "The residual alone says only what the code has missed. The sum is what the "
                "encoder meant.",
            ),
        ),
    ),
)

TERMS = {
    "code": "One row of the codebook: a vector of length 1 that stands for many similar latents.",
    "discrete path": "The decoder reads codes only: what token ids can say.",
    "hybrid path": "The decoder reads code plus residual, which is the unit latent again. In "
    "training it is called the continuous path.",
    "warm-up": "Stage 1: continuous path; encoder and decoder find a good latent space.",
    "discrete learning": "Stage 2: discrete path; encoder, codebook and decoder learn together.",
    "alternate fine-tuning": "Stage 3: one of both paths at random, a batch at a time; only the "
    "decoder learns.",
    "frozen": "Not changed by training: no gradient, no optimiser, no moving averages. Bit-equal.",
    "moving average of weights": "A second, smoother set of weights: after each step a little of "
    "the new ones is blended in. Also called EMA.",
    "rFID": "Distance between real and reconstructed pictures in the eyes of a network; lower is "
    "better. Lesson 05 builds one of its kind.",
}
