"""Pictures of tables: one Altair specification for the page and the PNG, in English and Chinese.

Importing this loads no plotting library.
"""

from lifeloop.charts.draw import chart, drawn, nobody, png
from lifeloop.charts.words import LANGUAGES, Words, words

__all__ = ["LANGUAGES", "Words", "chart", "drawn", "nobody", "png", "words"]
