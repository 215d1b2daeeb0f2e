"""Lesson 12: five questions on measuring time, and the terms."""

from dcar_edu.course.quiz import Choice, Question

QUIZ = (
    Question(
        "12.q1",
        "Paper check. On a GPU a picture of 512 pixels takes well over half a second; the paper "
        "says 0.4. Which two dials do you look at first?",
        (
            Choice(
                "The steps of unmasking and the steps of the residual head",
                True,
                "Yes. 12 and 20 are the paper's. Every other part runs once; these two run as "
                "often as somebody told them to.",
            ),
            Choice(
                "The temperature and the guidance",
                False,
                "They change the picture. Guidance on or off doubles the passes, but its strength "
                "costs nothing.",
            ),
            Choice(
                "The codebook and the length of the prompt",
                False,
                "A larger codebook makes the token head a little wider, and words are read once. "
                "Neither runs dozens of times.",
            ),
        ),
    ),
    Question(
        "12.q2",
        "A server draws 8 pictures together in 4 seconds, one alone in 1 second. What is true?",
        (
            Choice(
                "Its latency is half a second and its throughput 2 pictures a second",
                False,
                "Nobody gets a picture after half a second: in a batch of 8, all wait for 4.",
            ),
            Choice(
                "Alone: latency 1 s, throughput 1 a second. In batches of 8: latency 4 s, "
                "throughput 2 a second",
                True,
                "Yes. A batch uses the machine better and lets everyone wait longer. So the two "
                "numbers are measured apart, and the paper gives both.",
            ),
            Choice(
                "Latency and throughput are the same number, one turned upside down",
                False,
                "Only for a batch of one.",
            ),
        ),
    ),
    Question(
        "12.q3",
        "The steps take 60 % of the time. You make them 5 times as fast. Why is the picture not "
        "drawn 5 times as fast?",
        (
            Choice(
                "Because the clock is not precise enough",
                False,
                "The clock is fine. It shows what is left.",
            ),
            Choice(
                "Because faster steps need a slower decoder",
                False,
                "The decoder does not care how its tokens were found.",
            ),
            Choice(
                "Because the other 40 % stay: 0.4 + 0.6 / 5 = 0.52, so 1.9 times",
                True,
                "Yes. Even steps that take no time at all would give 1 / 0.4 = 2.5 times.",
            ),
        ),
    ),
    Question(
        "12.q4",
        "Which two gains multiply?",
        (
            Choice(
                "Half as many steps, and steps that each take half as long",
                True,
                "Yes: both act on the same part, so its time falls to a quarter.",
            ),
            Choice(
                "A head twice as fast and a decoder twice as fast",
                False,
                "They act on different parts: what they save adds up.",
            ),
            Choice(
                "All gains multiply",
                False,
                "Only those on the same part. Otherwise what is saved adds up, and the rest stays.",
            ),
        ),
    ),
    Question(
        "12.q5",
        "Your machine differs from the one of this notebook. Which of its numbers may you expect "
        "to see again?",
        (
            Choice(
                "The seconds",
                False,
                "They depend on the machine, its load and its libraries.",
            ),
            Choice(
                "The counted operations exactly, and the ratios roughly",
                True,
                "Yes. Operations are arithmetic. In a ratio much of the machine cancels, not all: "
                "a GPU runs wide layers at a better rate than narrow ones.",
            ),
            Choice(
                "None of them",
                False,
                "The operations are the same everywhere: they follow from the sizes.",
            ),
        ),
    ),
)

TERMS = {
    "latency": "Seconds until one picture is there, drawn alone.",
    "throughput": "Pictures a second when many are drawn together.",
    "warm-up call": "One of the first calls: slower, because memory is fetched and code is picked "
    "or compiled. Not counted in a measurement.",
    "utilisation": "The share of a device's operations a second that a program gets (MFU).",
    "Amdahl's law": "The part that stays as it is bounds the gain of making another part faster.",
}
