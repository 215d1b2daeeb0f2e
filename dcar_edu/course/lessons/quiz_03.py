"""Lesson 03: five checks on quantization, among them the paper check, and the terms."""

from dcar_edu.course.quiz import Choice, Question

QUIZ = (
    Question(
        "03.q1",
        "Paper check. Why does pure vector quantization struggle with high frequencies, such as "
        "eyes and lettering?",
        (
            Choice(
                "A place may say one of K things only, and fine detail of many kinds does not fit "
                "into K; a code keeps what is common to its pictures, and detail is not",
                True,
                "Yes. One code stands for thousands of patches. What they share is colour and "
                "coarse form; the eye and the letter are in the residual, which is thrown away. "
                "DC-AR keeps the residual and lets a small diffusion head draw it.",
            ),
            Choice(
                "The nearest code is found by the cosine, and the cosine has no high frequencies",
                False,
                "Latents have no frequencies; the pictures have. With plain distance the same "
                "detail is lost: the limit is that there are K codes.",
            ),
            Choice(
                "The straight-through gradient blurs the encoder",
                False,
                "It shapes training, but a perfectly trained codebook of K codes still has to "
                "round every latent to one of K points.",
            ),
        ),
    ),
    Question(
        "03.q2",
        "The decoder reads codes. Where does the encoder's gradient of the pixel loss come from?",
        (
            Choice(
                "It is the decoder's gradient with respect to the code, copied to the latent",
                True,
                "Yes: straight-through. The copy is not the true gradient (that is 0 nearly "
                "everywhere), but it points the right way when latent and code lie close.",
            ),
            Choice(
                "From the search for the nearest code",
                False,
                "argmin gives a whole number. A small step of the latent does not change it, so "
                "its slope is 0, and at the border it jumps.",
            ),
            Choice(
                "From the commitment loss only",
                False,
                "The commitment loss keeps the latent near its code. It knows nothing about "
                "pixels; with it alone the encoder would not learn to draw.",
            ),
        ),
    ),
    Question(
        "03.q3",
        "A codebook of 1,024 codes shows usage 100 % and perplexity 3. What happened?",
        (
            Choice(
                "Every code was used at least once, but a few codes are used nearly always",
                True,
                "Yes. Usage counts a code that was used once like one that was used a million "
                "times. Perplexity sees that the choice is worth about three equal codes.",
            ),
            Choice(
                "Three codes are dead",
                False,
                "Then usage would be below 100 %. Perplexity is no count of dead codes.",
            ),
            Choice(
                "It is impossible: perplexity is at least usage times K",
                False,
                "It is at MOST the number of used codes, and reaches it when all are equally "
                "frequent. It can be as small as 1.",
            ),
        ),
    ),
    Question(
        "03.q4",
        "Why does DC-HT compare latents and codes by the cosine, on the unit sphere?",
        (
            Choice(
                "No code can lose only because it is short, long or far out; all live where the "
                "latents are",
                True,
                "Yes. Latents and codes share one surface, so neither can run away from the "
                "other, and a latent's residual has a known scale.",
            ),
            Choice(
                "The cosine is cheaper than the distance",
                False,
                "Both are one matrix product. On the sphere they even give the same order: "
                "the squared distance is 2 - 2 cos.",
            ),
            Choice(
                "It makes the number of codes smaller",
                False,
                "K is what you choose. The sphere changes how many of the K are used.",
            ),
        ),
    ),
    Question(
        "03.q5",
        "A model trains in bfloat16. Why does the search in the codebook stay in float32?",
        (
            Choice(
                "bfloat16 keeps about three digits, and the best of thousands of codes differ "
                "only after that: ties are decided by rounding",
                True,
                "Yes. Among 16,384 random codes the two best cosines differ by less than one step "
                "of bfloat16 for one latent in eight. The token would depend on rounding.",
            ),
            Choice(
                "float32 is faster on a GPU",
                False,
                "It is slower. The search is a small part of the work, so one can afford it.",
            ),
            Choice(
                "Whole numbers cannot be stored next to bfloat16",
                False,
                "They can; an index is an int64 anyway. The point is which index comes out.",
            ),
        ),
    ),
)

TERMS = {
    "vector quantization": (
        "Replacing a vector by the nearest of K fixed or learnt vectors, so that one whole "
        "number is enough to name it. Short: VQ."
    ),
    "codebook": "The K vectors that a latent can be replaced by; one row is a code.",
    "straight-through": (
        "Going forward with the code and backward as if nothing had been replaced: the gradient "
        "is copied from the code to the latent."
    ),
    "commitment loss": (
        "The term, weighted by beta, that pulls a latent towards its code, so that the encoder "
        "does not run away from the codebook."
    ),
    "code usage": "Share of the codes that occur at least once in many pictures.",
    "perplexity": (
        "exp(entropy): as varied as a choice among so many equally frequent codes. Between 1 and K."
    ),
    "dead code": "A code that no latent chooses: it gets no gradient and never moves again.",
    "codebook collapse": "When nearly all latents share a few codes and the others are dead.",
    "unit sphere": "All vectors of length 1. There, distance and cosine give the same order.",
}
