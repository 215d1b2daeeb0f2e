"""Words for pictures: articles, plurals, and the caption of every emoji."""

import re

STYLES = {"3d": "3D emoji", "flat": "flat emoji", "noto": "Noto emoji", "blob": "blob emoji"}
BACKGROUNDS = {
    "white": (255, 255, 255),
    "grey": (158, 162, 170),
    "black": (24, 24, 28),
    "pale blue": (200, 222, 255),
    "pale green": (206, 240, 206),
    "pale yellow": (255, 246, 190),
    "pink": (255, 198, 214),
    "orange": (255, 166, 77),
    "red": (214, 56, 52),
    "green": (58, 148, 80),
    "blue": (52, 98, 214),
    "purple": (136, 88, 190),
}
SIZES = ("normal", "small")

# Words that stand without an article: stuff, sports, names.
BARE = frozenset(
    """Mrs. Claus|Mx Claus|Santa Claus|ZZZ|bacon|badminton|bowling|bread|breast-feeding|broccoli
    building construction|butter|camping|construction|cooked rice|cooking|coral|curry rice|custard
    dashing away|dna|field hockey|fire|fog|garlic|ginger root|high voltage|horse racing|ice
    ice cream|ice hockey|lacrosse|light rail|luggage|mate|meat on bone|money with wings
    nail polish|oden
    palms up together|performing arts|ping pong|popcorn|pouring liquid|sake|salt|shaved ice|soap
    soft ice cream|spaghetti|sushi|tennis|thread|wood|yarn""".replace("\n    ", "|").split("|")
)
# Labels that are no noun, or a name that takes "the".
PHRASES = {
    "Statue of Liberty": "the Statue of Liberty",
    "Tokyo tower": "the Tokyo tower",
    "dizzy": "a dizzy star",
    "foggy": "a foggy city",
    "kaaba": "the Kaaba",
    "locked": "a locked padlock",
    "milky way": "the milky way",
    "mount fuji": "Mount Fuji",
    "rolling on the floor laughing": "a face rolling on the floor laughing",
    "skull and crossbones": "a skull and crossbones",
    "star-struck": "a star-struck face",
    "thumbs down": "a thumbs down",
    "thumbs up": "a thumbs up",
    "unlocked": "an unlocked padlock",
}
HEAD = re.compile(r" (with|without|of|in|on|at|over|behind|showing|and|holding|facing|up) ")
ONE_PERSON = re.compile(r"(man|woman|person|face|cat|head)( |$)")
MANY = re.compile(r"(men|women|people|two|hundred) ")
SAID_WITH_AN = re.compile(r"(?!uni|u[st]e|eu|ewe|one\b)[aeiou]|herb|hour|x-ray|8", re.IGNORECASE)
IRREGULAR = {
    "cactus": "cacti", "child": "children", "deer": "deer", "fish": "fish", "foot": "feet",
    "goose": "geese", "knife": "knives", "leaf": "leaves", "mouse": "mice", "ox": "oxen",
    "person": "people", "scarf": "scarves", "sheep": "sheep", "tooth": "teeth", "wolf": "wolves",
}  # fmt: skip
NUMBERS = ("zero", "one", "two", "three", "four")


def article(words: str) -> str:
    """Put ``a`` or ``an`` before words, by their sound.

    Example:
        >>> article("owl"), article("unicorn"), article("hourglass")
        ('an owl', 'a unicorn', 'an hourglass')
    """
    return f"{'an' if SAID_WITH_AN.match(words) else 'a'} {words}"


def is_plural(label: str) -> bool:
    """Say whether a label names several things: ``clinking glasses``, ``two hearts``."""
    if ONE_PERSON.match(label):
        return False
    head = HEAD.split(label)[0]
    ends_plural = head.endswith("s") and not head.endswith(("ss", "us", "ceros"))
    return ends_plural or MANY.match(label) is not None


def noun_phrase(label: str) -> str:
    """Turn a label into words that can follow ``an emoji of``.

    Example:
        >>> noun_phrase("wolf"), noun_phrase("blueberries"), noun_phrase("bread")
        ('a wolf', 'blueberries', 'bread')
    """
    if label in PHRASES:
        return PHRASES[label]
    return label if label in BARE or is_plural(label) else article(label)


def plural(noun: str) -> str:
    """Turn one thing into several; the last word of the noun changes.

    Example:
        >>> plural("apple"), plural("tropical fish"), plural("strawberry"), plural("bus")
        ('apples', 'tropical fish', 'strawberries', 'buses')
    """
    before, space, word = noun.rpartition(" ")
    if word in IRREGULAR:
        word = IRREGULAR[word]
    elif word.endswith("man"):
        word = word[:-2] + "en"
    elif re.search(r"(s|x|z|ch|sh|tomato|potato|mango)$", word):
        word += "es"
    elif re.search(r"[^aeiou]y$", word):
        word = word[:-1] + "ies"
    else:
        word += "s"
    return before + space + word


def on_background(background: str) -> str:
    """Name the background; every caption does, white too, so that no word is a default."""
    return f"on {article(background)} background"


def emoji_caption(label: str, style: str, background: str, size: str = "normal") -> str:
    """Write the caption of one emoji.

    Example:
        >>> emoji_caption("wolf", "3d", "pale blue")
        'a 3D emoji of a wolf on a pale blue background'
        >>> emoji_caption("owl", "noto", "orange", "small")
        'a small Noto emoji of an owl on an orange background'
    """
    words = "a small" if size == "small" else "a"
    return f"{words} {STYLES[style]} of {noun_phrase(label)} {on_background(background)}"


def counted(noun: str, number: int) -> str:
    """Say how many.

    Example:
        >>> counted("apple", 3), counted("owl", 1)
        ('three apples', 'an owl')
    """
    return article(noun) if number == 1 else f"{NUMBERS[number]} {plural(noun)}"


def scene_caption(content: str, style: str, background: str, *, several: bool) -> str:
    """Write the caption of a scene; "emoji" is its own plural.

    Example:
        >>> scene_caption("three apples", "3d", "white", several=True)
        '3D emoji of three apples on a white background'
    """
    what = STYLES[style] if several else f"a {STYLES[style]}"
    return f"{what} of {content} {on_background(background)}"
