"""Data sets: where pictures come from, which are used, in which order, and how they are changed."""

from .sources import Entry, Source, open_source

__all__ = ["Entry", "Source", "open_source"]
