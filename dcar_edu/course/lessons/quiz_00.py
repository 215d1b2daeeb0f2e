"""Lesson 00: six readiness questions with pointers, two paper checks, and the first terms."""

from dcar_edu.course.quiz import Choice, Question

QUIZ = (
    Question(
        "00.q1",
        "Are you ready? (1 of 6) x has shape (2, 3, 4, 5). What is the shape of x.permute(0, 2, "
        "3, 1)?",
        (
            Choice(
                "(2, 4, 5, 3)",
                True,
                "Yes: the new axes are the old axes 0, 2, 3 and 1.",
            ),
            Choice(
                "(2, 5, 3, 4)",
                False,
                "No. Read it as a list of old axes: 0, then 2, then 3, then 1. If this is new to "
                "you, read the PyTorch page on `torch.permute` (10 minutes), then do exercise "
                "00.2 again.",
            ),
            Choice(
                "(2, 3, 4, 5); permute changes only the order in memory",
                False,
                "No. permute changes the shape and leaves the memory alone: just the opposite. "
                "Read the PyTorch page 'Tensor Views' (10 minutes).",
            ),
        ),
    ),
    Question(
        "00.q2",
        "Are you ready? (2 of 6) What does a seed fix?",
        (
            Choice(
                "The sequence of random numbers that one generator gives",
                True,
                "Yes. Same seed, same model, same settings: same picture. Here the numbers are "
                "drawn on the CPU and then moved, so the seed means the same on every device.",
            ),
            Choice(
                "What the picture shows",
                False,
                "No. The prompt decides what is shown; the seed decides which of the possible "
                "pictures you get. Look again at the four prompts with four seeds.",
            ),
            Choice(
                "The weights of the model",
                False,
                "No. The weights are read from a file. A seed would fix them only where they are "
                "drawn at random, before training. Read the PyTorch page 'Reproducibility'.",
            ),
        ),
    ),
    Question(
        "00.q3",
        "Are you ready? (3 of 6) What does softmax attention put in the place of a token?",
        (
            Choice(
                "A weighted average of the values of all tokens it may look at",
                True,
                "Yes. The weights come from queries and keys, they are positive and sum to 1.",
            ),
            Choice(
                "The value of the most similar token",
                False,
                "No, that would be a hard choice. Softmax gives every token some weight. Read "
                "about scaled dot-product attention "
                "(`torch.nn.functional.scaled_dot_product_attention`).",
            ),
            Choice(
                "The average of its direct neighbours",
                False,
                "No, that is what a small convolution does. Attention reaches every token in one "
                "step. Lesson 07 uses this; read any introduction to the transformer before it.",
            ),
        ),
    ),
    Question(
        "00.q4",
        "Are you ready? (4 of 6) A model spreads its belief evenly over 1,024 codes. What is its "
        "cross-entropy loss?",
        (
            Choice(
                "ln 1024 = 6.93",
                True,
                "Yes: the loss is -ln(1/1024). A loss of 6.93 at the start of lesson 07 means "
                "'knows nothing yet', not 'broken'.",
            ),
            Choice(
                "1/1024",
                False,
                "That is the probability of the right code. The loss is minus its logarithm. Read"
                " the PyTorch page on `torch.nn.CrossEntropyLoss`.",
            ),
            Choice(
                "1, because all answers but one are wrong",
                False,
                "That counts errors. Cross-entropy asks how surprised the model is by the right "
                "code: -ln(1/1024). Read the PyTorch page on `torch.nn.CrossEntropyLoss`.",
            ),
        ),
    ),
    Question(
        "00.q5",
        "Are you ready? (5 of 6) Why do we draw pictures under torch.no_grad()?",
        (
            Choice(
                "So that torch keeps no intermediate values for a backward pass",
                True,
                "Yes: less memory, a little faster. `generate` does it for you.",
            ),
            Choice(
                "So that dropout is switched off",
                False,
                "No, `model.eval()` does that. The two are independent. Read 'Locally disabling "
                "gradient computation' in the PyTorch documentation; it has a table of both.",
            ),
            Choice(
                "So that the weights cannot be changed",
                False,
                "Weights change only when an optimizer takes a step. no_grad stops torch from "
                "recording what a gradient needs. Read 'Autograd mechanics' in the PyTorch "
                "documentation.",
            ),
        ),
    ),
    Question(
        "00.q6",
        "Are you ready? (6 of 6) What does bf16 lose when it is compared with float32?",
        (
            Choice(
                "Digits: about 3 significant digits are left, the range stays",
                True,
                "Yes: 8 bits of precision instead of 24, and the same 8 bits of exponent. 1 + "
                "0.001 is 1 in bf16.",
            ),
            Choice(
                "Range: values above 65,504 become infinite",
                False,
                "That is float16. bf16 keeps the range of float32 and loses digits. Try "
                "`torch.finfo(torch.bfloat16)` and `torch.finfo(torch.float16)` side by side.",
            ),
            Choice(
                "Nothing that can be measured",
                False,
                "It can: `torch.tensor(1.001).bfloat16()` prints 1. Try it, and look at "
                "`torch.finfo(torch.bfloat16).eps`.",
            ),
        ),
    ),
    Question(
        "00.q7",
        "Paper check. DC-AR works at f32. How many tokens stand for a picture of 256 x 256 pixels?",
        (
            Choice(
                "64",
                True,
                "Yes: 256 / 32 = 8, and 8 x 8 = 64.",
            ),
            Choice(
                "8",
                False,
                "8 is the number of rows. The grid has 8 rows and 8 columns: 64 tokens.",
            ),
            Choice(
                "256",
                False,
                "That is the number for 512 x 512 pixels: 16 x 16. Twice the side, four times the"
                " tokens.",
            ),
            Choice(
                "1,024",
                False,
                "That is 256 x 256 pixels at f8 (32 x 32 tokens). Lesson 01 shows what this costs.",
            ),
        ),
    ),
    Question(
        "00.q8",
        "Twelve steps on 64 tokens reveal 4, 3, 4, 3, 4, 4, 4, 4, 5, 6, 7 and 16 of them. How many"
        " forward passes do the twelve steps need with guidance on?",
        (
            Choice(
                "24",
                True,
                "Yes: in each step the model looks once with the prompt and once without it. "
                "Token by token would be 128 passes; on the 256 tokens of a 512-pixel picture it "
                "is 24 passes instead of 512.",
            ),
            Choice(
                "12",
                False,
                "That would be without guidance. Guidance compares a pass with the prompt and a "
                "pass without it, so each step counts twice.",
            ),
            Choice(
                "64",
                False,
                "64 is the number of tokens. The number of passes follows the steps, not the "
                "tokens: that is why drawing in steps is fast for large pictures.",
            ),
        ),
    ),
)

TERMS = {
    "prompt": "The sentence that says what to draw.",
    "token": (
        "A whole number that stands for one piece (32 x 32 pixels at f32) of a picture: the row "
        "of a codebook."
    ),
    "token grid": "The tokens of a picture in rows and columns. A 256 x 256 picture has 8 x 8.",
    "f32": "Short for: 32 pixels of height and 32 of width become one token. Also f8, f16, f64.",
    "mask": "Says which tokens are still hidden. True = hidden.",
    "step": "One round of drawing: the model looks at everything, and some tokens become visible.",
    "seed": "A number that fixes the sequence of random numbers, and with it the picture.",
    "guidance": "Drawing with the prompt, and away from what would be drawn without it.",
    "residual": "What the codebook could not say: the difference between a latent and its code.",
    "budget": "How much computing a lesson may use: smoke, cpu or gpu.",
}
