"""The data card: what is in a dataset folder, and what a model could learn from it by mistake."""

from virtassay.card.writer import write

__all__ = ["write"]
