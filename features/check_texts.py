"""Short texts of our own on which an exported encoder is compared with its original.

Of the kinds that items have: product titles, films with genres and plots, news
headlines, songs, recipes, courses, search queries, shouted titles, codes,
other scripts. The even ones also show the quantiser what values occur inside.
"""

from __future__ import annotations

from typing import Final

__all__ = ["CHECK_TEXTS"]

CHECK_TEXTS: Final = (
    "Stoneware mug with a blue rim, 350 ml",
    "SET OF 4 LAVENDER CANDLES IN TIN",
    "The Lighthouse Keeper. drama, mystery. A widowed keeper finds letters in a wall that were "
    "never sent, and begins to answer them. When the answers are answered, he leaves his island "
    "for the first time in twenty years.",
    "Trail running shoes, men, waterproof, size 44",
    "Harbour strike enters its third week as talks stall",
    "green tea",
    "Wool blanket. home, bedroom. Woven from undyed wool in a small mill; warm, heavy, and made "
    "to be mended rather than replaced. Machine wash cold, dry flat.",
    "Slow Rivers (Live at the Old Mill) - folk, acoustic",
    "USB-C cable 2m braided 100W",
    "Lemon risotto with peas. recipes, vegetarian, quick. Toast the rice, add stock a ladle at a "
    "time, finish with lemon zest and hard cheese. Serves four in half an hour.",
    "VINTAGE PARIS ALARM CLOCK, RED",
    "Robots of the Seventh Moon. science fiction, comedy, family. Three cleaning robots are left "
    "behind on a moon base and decide to throw the party that their makers never had.",
    "Introduction to statistics with Python, beginner course, 12 lessons",
    "children's raincoat yellow age 5",
    "Der kleine Garten am Stadtrand. Roman",
    "Noise cancelling headphones. electronics, audio, bluetooth. Thirty hours of battery, folds "
    "flat, with a cable for aeroplanes.",
    "手工陶瓷茶杯 带盖 300毫升",
    "Night Train to Lisbon Street. thriller, crime, train, detective, conspiracy, snow. An "
    "inspector on leave shares a compartment with the only witness of a crime that has not yet "
    "happened. Both get off at the wrong station.",
    "PACK OF 72 RETRO SPOT CAKE CASES",
    "Mid-century oak sideboard with sliding doors",
    "Central bank holds rates, hints at spring cut. economy, markets",
    "wireless mouse",
    "Sourdough for the impatient. book, cooking, baking",
    "Zapatos de cuero hechos a mano, talla 39",
    "Garden shears, forged steel, for left-handers",
    "SKU 84029G",
    "Winter in the Valley. documentary, nature. A year with the shepherds of a high valley, told "
    "without a word of commentary.",
    "LED bulb E27 warm white 8 W (60 W), pack of 6",
    "Midfielder signs new contract until 2029. sport, football",
    "The Clockmaker's Daughter. fantasy, adventure, based on novel, coming of age, magic, time "
    "travel. A girl who can hear clocks think sets out to repair the one that stopped her town.",
    "Yoga mat, natural rubber, 4 mm, forest green",
    "lofi beats to study to, 2 hours",
    "RED WOOLLY HOTTIE WHITE HEART",
    "Face cream with oat and calendula. beauty, sensitive skin. Unscented; for dry and irritated "
    "skin, morning and evening. Tested without animals.",
    "Learn to weld: safety, tools, first seams",
    "東京の喫茶店めぐり 完全ガイド",
    "Two brothers, one bakery. comedy, food, brothers, small town, wedding. They have not spoken "
    "since the flood, and now the wedding cake needs both of them.",
    "Electric bicycle, step-through frame, 500 Wh",
    "HANGING HEART T-LIGHT HOLDER",
    "Best hikes within an hour of the city. travel, outdoors, guide. Ten walks that need no car, "
    "from a gentle hour along the canal to a long day over both summits, with a map, the trains "
    "to take, where to eat, and what to do when it rains. Updated this spring with two new "
    "routes, and one that we had to drop because a bridge is being rebuilt until autumn.",
)
