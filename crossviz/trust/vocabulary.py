"""Random words: what a map is held against to see what the method gives to words that nobody asked for."""

import random
from collections import defaultdict
from collections.abc import Iterable

__all__ = ["WORDS", "PseudoWords", "random_words"]

_THINGS = """
acorn actor airplane album alley anchor angel ankle antelope anvil apple apron arch armchair arrow attic autumn
avocado axe baby backpack badge bakery balcony ball balloon bamboo banana bandage banjo barn barrel baseball basket
bathtub battery beach bead beak bean bear beard bed bee bell belt bench bicycle bird biscuit blanket blouse boat
bone book boot bottle bowl box bracelet branch bread brick bridge broom brush bubble bucket building bull bus
butter butterfly button cabbage cabin cactus cage cake calendar camel camera candle canoe canyon carpet carrot cart
castle cat cave ceiling cello chain chair chalk cheese cherry chess chicken child chimney church cigar city clay
cliff clock cloud clown coal coat coin collar comb compass cookie coral corn couch cow crab cradle crane crayon
crow crown cup cupboard curtain cushion dancer deer desert desk diamond dice dog doll dolphin donkey door dragon
drawer dress drill drum duck dust eagle ear egg elbow elephant engine envelope eraser fabric factory falcon farmer
feather fence fern field finger fire fish flag flame flower flute fog forest fork fountain fox frame frog fruit
garage garden garlic gate ghost giraffe girl glass glove goat gold goose grape grass guitar hammer hammock hand
harbor harp hat hawk hedge helmet hen hill hoof horn horse hospital house hut iceberg island ivory jacket jar jeans
jelly jewel judge juice jungle kayak kettle key keyboard king kitchen kite kitten knee knife knot ladder lake lamb
lamp lantern laptop leaf leather lemon leopard letter library lighthouse lily lion lizard lobster lock log magnet
man map marble market mask mat meadow medal melon mirror mitten monk monkey moon moose mosque moth motorcycle
mountain mouse mouth mud muffin mushroom napkin necklace needle nest net newspaper noodle nose notebook nurse nut
oak oar ocean octopus onion orange orchard ostrich oven owl ox oyster paddle page paint palace palm pan panda paper
parachute park parrot path peach peacock pear pebble pen pencil penguin pepper piano picture pie pig pigeon pillow
pilot pine pineapple pipe pirate pizza plate plum pocket pond pony poster potato prince pumpkin puppet puppy purse
queen quilt rabbit radio raft rail rain rat razor ribbon rice ring river road robe robot rock rocket roof rooster
rope rose rug ruler sack saddle sail sailor salad salt sand sandal sandwich sauce saw scarf school scissors screw
sea seal shadow shark sheep shelf shell ship shirt shoe shovel silver sink skate skeleton ski skirt skull sky
slipper smoke snail snake snow soap sock sofa soldier soup spade spider spoon squirrel stable stadium stairs stamp star
statue steak stone stove straw strawberry street submarine sugar suit suitcase sun swan sweater sword table tail
taxi teacher teapot telephone temple tent thread thumb ticket tie tiger toast toe tomato tongue tooth torch towel
tower tractor train tray tree trophy truck trumpet trunk tulip tunnel turkey turtle umbrella uniform vase vest
village vine violin volcano wagon waiter wall wallet walnut watch water waterfall wave wedding whale wheat wheel
whistle window wine wing wolf woman wood wool worm yacht yarn zebra
"""
WORDS = tuple(_THINGS.split())
"""Things, so that a random word asks for something."""
_SHORTEST, _LONGEST = 4, 7


class PseudoWords:
    """Words that can be spoken and mean nothing: chains of letters, each drawn by the two before it in real words."""

    def __init__(self, words: Iterable[str] = WORDS) -> None:
        self._words = set(words)
        self._next: dict[str, list[str]] = defaultdict(list)
        for word in sorted(self._words):
            for place, letter in enumerate(f"{word}$"):
                self._next[f"^{word}"[max(0, place - 1) : place + 1]].append(letter)

    def word(self, rng: random.Random) -> str:
        """A word of 4 to 7 letters, of about as many tokens as a usual word, that is none of the real ones."""
        while True:
            word = ""
            while len(word) <= _LONGEST:
                letter = rng.choice(self._next[f"^{word}"[-2:]])
                if letter == "$":
                    break
                word += letter
            if _SHORTEST <= len(word) <= _LONGEST and word not in self._words:
                return word


def random_words(count: int, length: int, seed: int, leave_out: Iterable[str] = ()) -> list[tuple[str, ...]]:
    """Runs of random words, half of the words real ones and half that mean nothing, each by even odds.

    Args:
        count: how many runs.
        length: words in each.
        seed: the same one gives the same words.
        leave_out: words that must not occur, in any case: those of the caption that these are put into.
    """
    rng = random.Random(seed)
    out = {word.casefold() for word in leave_out}
    real, pseudo = [word for word in WORDS if word not in out], PseudoWords()
    runs = []
    for _ in range(count):
        words: list[str] = []
        while len(words) < length:
            word = rng.choice(real) if rng.random() < 0.5 else pseudo.word(rng)
            if word not in out:
                words.append(word)
        runs.append(tuple(words))
    return runs
