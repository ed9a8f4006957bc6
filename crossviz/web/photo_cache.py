"""Encoded photos that are kept for the next question about them, within a bound of memory."""

import threading
from collections import OrderedDict
from collections.abc import Collection, Hashable

from crossviz.trace import EncodedImage
from crossviz.web.memory import held

__all__ = ["PhotoCache"]


class PhotoCache:
    """Encoded photos by key; when there is no more room, those used longest ago leave first.

    Args:
        most: bytes that may be held: pixels, what the model made of them, and what methods and checks left with them.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._images: OrderedDict[Hashable, EncodedImage] = OrderedDict()
        self._sizes: dict[Hashable, int] = {}
        self._total = 0
        self.hits = self.misses = 0
        """How many questions found their photo, and how many did not."""
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> EncodedImage | None:
        """The photo of that key if it is there; it has been used now."""
        with self._lock:
            image = self._images.get(key)
            if image is not None:
                self._images.move_to_end(key)
            return image

    def ask(self, key: Hashable) -> EncodedImage | None:
        """As `get`, for a question: it is counted."""
        image = self.get(key)
        with self._lock:
            self.hits += image is not None
            self.misses += image is None
        return image

    def put(self, key: Hashable, image: EncodedImage) -> None:
        """Keep a photo, or count one again that has grown since."""
        size = held(image)
        with self._lock:
            if size > self.most:  # there is no room for it, even alone
                self._images.pop(key, None)
                self._total -= self._sizes.pop(key, 0)
                return
            self._total += size - self._sizes.get(key, 0)
            self._images[key], self._sizes[key] = image, size
            self._images.move_to_end(key)
            while self._total > self.most:
                oldest, _ = self._images.popitem(last=False)
                self._total -= self._sizes.pop(oldest)

    def drop(self, keys: Collection[Hashable]) -> None:
        """Forget some of them."""
        with self._lock:
            for key in keys:
                if self._images.pop(key, None) is not None:
                    self._total -= self._sizes.pop(key)

    def kept(self) -> list[Hashable]:
        """Those that are kept, used longest ago first."""
        with self._lock:
            return list(self._images)

    def clear(self) -> None:
        """Forget all of them."""
        with self._lock:
            self._images.clear()
            self._sizes.clear()
            self._total = 0

    @property
    def total(self) -> int:
        """Bytes that are held now."""
        return self._total

    def __len__(self) -> int:
        return len(self._images)
