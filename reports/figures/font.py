"""The font of all figures: DejaVu Sans, cut once to the characters that reports are written in.

A PDF holds the part of a font that it uses, and matplotlib cuts that part anew for every file: of the whole font, with
its 6,000 glyphs, in a third of a second, of this one in a hundredth. A character that is not here comes from the whole.
"""

from __future__ import annotations

import atexit
import functools
import os
import tempfile
from collections.abc import Iterable

from fontTools import subset
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

WHOLE = "DejaVu Sans"
CUT = "DejaVu Sans of krpo"
CHARACTERS = (*range(0x20, 0x7F), *range(0xA0, 0x100), *map(ord, "\u2013\u2014\u2026\u2212\u2248\u2260\u2264\u2265"))


def lacking(texts: Iterable[str]) -> str:
    """The characters that even the whole font lacks, and that a figure therefore shows as boxes; each once."""
    unusual = sorted({letter for text in texts for letter in text if ord(letter) not in CHARACTERS and letter != "\n"})
    known = FT2Font(font_manager.findfont(WHOLE)).get_charmap() if unusual else {}
    return "".join(letter for letter in unusual if ord(letter) not in known)


@functools.cache
def families() -> tuple[str, str]:
    """The families of `font.family`, known to matplotlib from here on; the file of the first is there until this
    process ends."""
    options = subset.Options(name_IDs=["*"], notdef_outline=True, hinting=False, legacy_kern=True)
    options.drop_tables += ["FFTM", "GPOS", "GDEF", "MATH"]  # kerning stands in `kern` too, which is cut faster
    # No ligatures: a PDF keeps them in a font of their own, and a search would not find their words.
    options.drop_tables += ["GSUB"]
    cutter = subset.Subsetter(options)
    cutter.populate(unicodes=CHARACTERS)
    handle, path = tempfile.mkstemp(prefix="krpo-", suffix=".ttf")
    atexit.register(os.unlink, path)
    with subset.load_font(font_manager.findfont(WHOLE), options) as font, os.fdopen(handle, "wb") as stream:
        cutter.subset(font)
        for record in font["name"].names:
            if record.nameID in (1, 16):  # the family, by which matplotlib finds a font
                record.string = CUT
        font.save(stream)
    font_manager.fontManager.addfont(path)
    return CUT, WHOLE
