"""The vocabularies of the simulated shop. Numbered words follow where a shop is larger than a list."""

CATEGORIES = (
    "camera", "garden", "toys", "watches", "shoes", "kitchen", "fitness", "audio", "fishing", "comics",
    "car parts", "furniture", "cycling", "jewelry", "computers", "camping", "vinyl", "handbags", "tools", "coins",
    "pets", "drones", "guitars", "baby",
)  # fmt: skip

NOUNS = {
    "camera": ("lens", "tripod", "body", "flash"),
    "garden": ("hose", "planter", "trimmer", "bench"),
    "toys": ("train", "puzzle", "figure", "blocks"),
    "watches": ("chronograph", "strap", "diver", "movement"),
    "shoes": ("sneaker", "boot", "sandal", "loafer"),
    "kitchen": ("kettle", "knife", "pan", "mixer"),
    "fitness": ("dumbbell", "mat", "treadmill", "band"),
    "audio": ("speaker", "headphones", "amplifier", "turntable"),
    "fishing": ("rod", "reel", "lure", "net"),
    "comics": ("issue", "omnibus", "print", "annual"),
}

STYLES = (
    "vintage", "modern", "compact", "rugged", "luxury", "budget", "handmade", "digital", "classic", "colorful",
    "minimal", "outdoor", "wireless", "limited", "refurbished", "professional", "portable", "artisan", "retro", "smart",
)  # fmt: skip

FILLERS = ("new", "set", "with", "case", "black", "blue", "pro", "mini", "large", "edition", "pair", "kit")

BRANDS = (
    "Arvo",
    "Belten",
    "Corvid",
    "Dunmore",
    "Elka",
    "Fjord",
    "Garrow",
    "Halden",
    "Ister",
    "Juno",
    "Kestrel",
    "Lumen",
)

FAMILIES = (
    "similar items", "bought together", "recently viewed", "sponsored", "same seller", "trending", "accessories",
    "deals", "same brand", "recommended for you", "explore more", "complete the look", "new arrivals", "last chance",
    "top rated", "people also viewed", "seasonal", "refurbished picks", "local pickup", "bundles",
)  # fmt: skip

ALGORITHMS = ("co-view", "co-purchase", "embedding", "popularity", "content", "graph walk")


def nth(words: tuple[str, ...], number: int) -> str:
    """The word at `number`; past the end of the list it is numbered: "camera 2"."""
    repeat, index = divmod(number, len(words))
    return words[index] if repeat == 0 else f"{words[index]} {repeat + 1}"


def nouns(category: str) -> tuple[str, ...]:
    """What items of a category are called."""
    return NOUNS.get(category, (category, f"{category} part", f"{category} gear"))
