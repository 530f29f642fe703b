"""The words of the made-up shop: shelves, nouns, styles, makers, and how they become text.

A style has words of its own in titles and descriptions, so that the text of an
item says to whom it will appeal; the shelf and the noun say what it is.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["MAKERS", "SHELVES", "STYLES", "Shelf", "Style", "compose", "query"]


class Shelf(NamedTuple):
    """A category of the second level.

    Attributes
    ----------
    department, name
        The two levels of the category.
    nouns
        What lies on the shelf.
    purpose
        Ends the sentence "made for ...".
    price
        The median price.
    goes_with
        Names of shelves from which people continue.
    consumable
        Whether it is used up and bought again.
    """

    department: str
    name: str
    nouns: tuple[str, ...]
    purpose: str
    price: float
    goes_with: tuple[str, ...]
    consumable: bool = False


class Style(NamedTuple):
    """A taste that runs across all shelves."""

    name: str
    adjectives: tuple[str, ...]
    sentences: tuple[str, ...]


SHELVES: Final = (
    Shelf(
        "kitchen",
        "cookware",
        ("saucepan", "skillet", "stockpot", "casserole", "wok", "lid"),
        "long simmering and quick suppers alike",
        48,
        ("knives", "spices"),
    ),
    Shelf(
        "kitchen",
        "knives",
        ("paring knife", "cleaver", "bread knife", "whetstone", "chopping board", "kitchen shears"),
        "clean cuts and steady hands",
        36,
        ("cookware", "tableware"),
    ),
    Shelf(
        "kitchen",
        "tableware",
        ("bowl", "dinner plate", "pitcher", "tumbler", "platter", "butter dish"),
        "a table with too many guests",
        22,
        ("linen", "cookware"),
    ),
    Shelf(
        "pantry",
        "tea",
        ("green tea", "black tea", "herbal tea", "chai", "oolong", "tea sampler"),
        "slow afternoons",
        9,
        ("sweets", "tableware"),
        True,
    ),
    Shelf(
        "pantry",
        "coffee",
        (
            "espresso beans",
            "filter roast",
            "decaf beans",
            "cold brew",
            "ground coffee",
            "coffee sampler",
        ),
        "the first hour of the day",
        13,
        ("sweets", "tea"),
        True,
    ),
    Shelf(
        "pantry",
        "spices",
        ("smoked paprika", "peppercorns", "curry blend", "sea salt", "saffron", "chilli flakes"),
        "dishes that lack a certain something",
        7,
        ("cookware", "sweets"),
        True,
    ),
    Shelf(
        "pantry",
        "sweets",
        ("nougat", "dark chocolate", "shortbread", "liquorice", "fruit jellies", "caramels"),
        "sharing, or not",
        8,
        ("tea", "coffee"),
        True,
    ),
    Shelf(
        "home",
        "lamps",
        ("desk lamp", "floor lamp", "lantern", "pendant lamp", "night light", "lampshade"),
        "corners that were dark",
        64,
        ("desk", "rugs"),
    ),
    Shelf(
        "home",
        "linen",
        ("tablecloth", "duvet cover", "pillowcase", "bath towel", "napkin set", "throw"),
        "soft landings",
        34,
        ("candles", "rugs"),
    ),
    Shelf(
        "home",
        "rugs",
        ("runner", "doormat", "wool rug", "kilim", "bath mat", "floor cushion"),
        "bare feet in winter",
        89,
        ("lamps", "linen"),
    ),
    Shelf(
        "home",
        "candles",
        ("pillar candle", "tealights", "candlestick", "scented candle", "wax melts", "snuffer"),
        "evenings that run late",
        12,
        ("soap", "linen"),
        True,
    ),
    Shelf(
        "bath",
        "soap",
        ("hand soap", "shaving soap", "bath salts", "soap dish", "shower bar", "body scrub"),
        "skin that has worked all day",
        10,
        ("skincare", "candles"),
        True,
    ),
    Shelf(
        "bath",
        "skincare",
        ("face cream", "hand balm", "lip balm", "clay mask", "facial oil", "sun lotion"),
        "weather of every kind",
        24,
        ("soap", "linen"),
        True,
    ),
    Shelf(
        "garden",
        "seeds",
        (
            "sunflower seeds",
            "tomato seeds",
            "herb seeds",
            "meadow mix",
            "bean seeds",
            "pumpkin seeds",
        ),
        "impatient gardeners",
        4,
        ("pots", "garden tools"),
        True,
    ),
    Shelf(
        "garden",
        "pots",
        ("planter", "hanging pot", "window box", "saucer", "seed tray", "plant stand"),
        "balconies and wide sills",
        27,
        ("seeds", "garden tools"),
    ),
    Shelf(
        "garden",
        "garden tools",
        ("trowel", "pruner", "watering can", "rake", "dibber", "gardening gloves"),
        "beds that need turning",
        31,
        ("seeds", "outdoor cooking"),
    ),
    Shelf(
        "outdoors",
        "camping",
        ("tent", "sleeping bag", "hammock", "camp stool", "head torch", "ground sheet"),
        "nights away from the road",
        95,
        ("outdoor cooking", "backpacks"),
    ),
    Shelf(
        "outdoors",
        "outdoor cooking",
        ("grill", "fire bowl", "camp stove", "kettle", "skewers", "thermos"),
        "meals that taste of smoke",
        57,
        ("camping", "spices"),
    ),
    Shelf(
        "outdoors",
        "backpacks",
        ("daypack", "duffel", "hip bag", "rucksack", "dry bag", "pannier"),
        "everything but the sink",
        74,
        ("camping", "notebooks"),
    ),
    Shelf(
        "study",
        "notebooks",
        ("sketchbook", "journal", "pocket notebook", "planner", "writing pad", "index cards"),
        "thoughts before they go",
        11,
        ("pens", "desk"),
    ),
    Shelf(
        "study",
        "pens",
        ("fountain pen", "brush pen", "ink bottle", "pencil set", "gel pen", "pen case"),
        "letters worth keeping",
        18,
        ("notebooks", "desk"),
    ),
    Shelf(
        "study",
        "desk",
        ("desk tray", "bookend", "paper knife", "desk clock", "pin board", "letter rack"),
        "order, at least here",
        29,
        ("lamps", "pens"),
    ),
    Shelf(
        "play",
        "puzzles",
        ("jigsaw", "burr puzzle", "crossword book", "tangram", "maze ball", "logic cards"),
        "rainy Sundays",
        21,
        ("board games", "sweets"),
    ),
    Shelf(
        "play",
        "board games",
        ("strategy game", "card game", "dice game", "party game", "chess set", "travel game"),
        "arguments among friends",
        33,
        ("puzzles", "sweets"),
    ),
)

STYLES: Final = (
    Style(
        "rustic",
        ("rustic", "farmhouse", "weathered", "hand-hewn"),
        (
            "Uneven on purpose, like things from an old barn.",
            "Country made, with the marks of the hand left in.",
        ),
    ),
    Style(
        "minimal",
        ("minimal", "plain", "pared-down", "quiet"),
        ("Nothing on it that could be left away.", "Straight lines and no ornament."),
    ),
    Style(
        "playful",
        ("playful", "cheerful", "patterned", "bright"),
        ("Loud colours and a wink.", "It makes children stop and adults smile."),
    ),
    Style(
        "classic",
        ("classic", "timeless", "traditional", "heritage"),
        ("As your grandparents would have bought it.", "An old pattern, kept in production."),
    ),
    Style(
        "nordic",
        ("nordic", "birch", "fjord", "snow-white"),
        ("Pale, warm and calm, after northern winters.", "Light wood tones and soft greys."),
    ),
    Style(
        "industrial",
        ("industrial", "riveted", "workshop", "raw steel"),
        ("It looks as if it came off a factory floor.", "Bare metal, bolts and dark patina."),
    ),
    Style(
        "botanical",
        ("botanical", "fern", "wildflower", "mossy"),
        ("Leaves and petals run all over it.", "Drawn after plants of hedge and meadow."),
    ),
    Style(
        "luxury",
        ("luxury", "gilded", "velvet", "grand"),
        ("For those who notice the difference.", "Rich, heavy and finished by hand."),
    ),
    Style(
        "eco",
        ("eco", "recycled", "low-waste", "organic"),
        ("Made from what others threw away.", "No plastic, no dyes, compostable wrapping."),
    ),
    Style(
        "travel",
        ("travel", "foldable", "featherlight", "compact"),
        ("Weighs next to nothing and packs flat.", "Built to live out of a bag."),
    ),
)

MAKERS: Final = tuple(
    head + tail
    for head in ("Fenn", "Hollo", "Quill", "Brack", "Ostra", "Lumen", "Tarn", "Wick")
    for tail in ("moor", "wright", " & Daughters", "holm", "ery")
)

_OPENINGS: Final = ("A {adjective} {noun}", "This {noun} is {adjective}", "{Adjective} {noun}")
_FINISHES: Final = ("in a gift box", "one of a small batch", "a shop favourite", "new this season",
                    "with a five-year promise", "sold singly")  # fmt: skip


def compose(
    shelf: Shelf, style: Style, noun: str, maker: str, draws: tuple[int, int, int]
) -> tuple[str, str]:
    """Return an item's title and description.

    Parameters
    ----------
    shelf, style, noun, maker
        What the item is.
    draws
        Three random integers that choose among the ways to say it.

    Examples
    --------
    >>> title, text = compose(SHELVES[3], STYLES[8], "chai", "Tarnholm", (1, 0, 2))
    >>> title
    'Recycled chai by Tarnholm'
    >>> text
    'A recycled chai made for slow afternoons. Made from what others threw away. A shop favourite.'
    """
    first, second, third = draws
    adjective = style.adjectives[first % len(style.adjectives)]
    opening = _OPENINGS[second % len(_OPENINGS)].format(
        adjective=adjective, Adjective=adjective.capitalize(), noun=noun
    )
    sentence = style.sentences[third % len(style.sentences)]
    finish = _FINISHES[third % len(_FINISHES)].capitalize()
    middle = "made" if " is " not in opening else "and made"
    text = f"{opening} {middle} for {shelf.purpose}. {sentence} {finish}."
    return f"{adjective.capitalize()} {noun} by {maker}", text


def query(noun: str, style: Style, draw: int) -> str:
    """Return what somebody types who looks for this noun, with or without the style.

    Examples
    --------
    >>> query("chai", STYLES[8], 0), query("chai", STYLES[8], 6)
    ('chai', 'low-waste chai')
    """
    if draw % 4 < 2:
        return noun
    return f"{style.adjectives[draw % len(style.adjectives)]} {noun}"
