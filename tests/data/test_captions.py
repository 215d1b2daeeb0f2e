"""Words: a golden list, and rules that hold for every label."""

import re

import pytest

from dcar_edu.data import captions
from dcar_edu.data.art import read_concepts

PHRASES = """a wolf|an owl|an elephant|an eagle|a unicorn|a ewe|a euro banknote|an hourglass done
a honey pot|an herb|a one-piece swimsuit|an umbrella|an upside-down face
an unamused face|an OK hand|an x-ray|an e-mail|a T-Rex|a 1st place medal|a pool 8 ball
an ice skate|an old man|an ox|an orange heart|a hut|a yo-yo|a zebra|blueberries|grapes
cherries|chopsticks|scissors|glasses|sunglasses|jeans|gloves|socks|fireworks|books
houses|clinking glasses|clapping hands|crossed swords|two hearts|men wrestling
women with bunny ears|people hugging|hundred points|french fries|nesting dolls|eyes
footprints|palms up together|a two-hump camel|a bus|a cactus|a compass|an octopus
a rhinoceros|a princess|a hippopotamus|a wine glass|a face with rolling eyes
a woman lifting weights|a face holding back tears|a globe with meridians|a woman's boot
a nest with eggs|a sunrise over mountains|a sign of the horns|a skull and crossbones
a kiss|woman's clothes|money with wings|bread|butter|broccoli|spaghetti|sushi|fog
ice hockey|tennis|wood|soap|the Statue of Liberty|Mount Fuji|Santa Claus|the Kaaba
a star-struck face|a locked padlock|a thumbs up|a hammer and wrench|a bow and arrow
a man with red hair|a bald woman|a person with a beard"""


@pytest.mark.parametrize("phrase", [p for line in PHRASES.splitlines() for p in line.split("|")])
def test_golden_phrases(phrase):
    by_phrase = {captions.noun_phrase(c.label): c.label for c in read_concepts()}
    assert phrase in by_phrase


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("cat", "cats"),
        ("fox", "foxes"),
        ("bus", "buses"),
        ("mouse", "mice"),
        ("wolf", "wolves"),
        ("octopus", "octopuses"),
        ("strawberry", "strawberries"),
        ("key", "keys"),
        ("butterfly", "butterflies"),
        ("fire engine", "fire engines"),
        ("tropical fish", "tropical fish"),
        ("tomato", "tomatoes"),
        ("cactus", "cacti"),
        ("snowman", "snowmen"),
        ("hot dog", "hot dogs"),
    ],
)
def test_golden_plurals(one, many):
    assert captions.plural(one) == many


def test_no_phrase_has_two_articles_or_stray_spaces():
    for concept in read_concepts():
        phrase = captions.noun_phrase(concept.label)
        assert not re.search(r"\b(an?|the) (an?|the)\b|  |^ | $", phrase), phrase
        assert not re.match(r"a (?!ewe|euro|one-)[aeio]|an [^aeiouAEIOUhx]", phrase), phrase


def test_every_word_list_is_used():
    labels = {concept.label for concept in read_concepts()}
    assert labels >= captions.BARE
    assert labels >= set(captions.PHRASES)


def test_captions_of_emoji():
    say = captions.emoji_caption
    assert say("wolf", "3d", "pale blue") == "a 3D emoji of a wolf on a pale blue background"
    assert say("owl", "flat", "white") == "a flat emoji of an owl on a white background"
    assert (
        say("blueberries", "noto", "orange", "small")
        == "a small Noto emoji of blueberries on an orange background"
    )
    assert say("bread", "blob", "black") == "a blob emoji of bread on a black background"


def test_captions_of_scenes():
    say = captions.scene_caption
    assert captions.counted("apple", 3) == "three apples"
    assert captions.counted("umbrella", 1) == "an umbrella"
    assert (
        say("two foxes", "3d", "grey", several=True) == "3D emoji of two foxes on a grey background"
    )
    assert say("an egg", "blob", "red", several=False) == (
        "a blob emoji of an egg on a red background"
    )


def test_there_are_twelve_different_backgrounds():
    assert len(captions.BACKGROUNDS) == len(set(captions.BACKGROUNDS.values())) == 12
