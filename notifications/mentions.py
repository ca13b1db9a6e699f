"""Who is mentioned in a text: ``@name``, outside of code. Pure."""

import re
from typing import Final

#: How many people one text can call.
MOST_MENTIONED: Final = 50
_CODE: Final = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`", re.DOTALL)
#: Not within an e-mail address or another word; the letters of user names.
_MENTION: Final = re.compile(r"(?<![\w@.+/-])@([\w.@+-]{1,150})")


def mentioned_names(text: str) -> frozenset[str]:
    """The user names that a text may mean: at the end of a sentence both with and without its mark."""
    found: set[str] = set()
    for number, match in enumerate(_MENTION.finditer(_CODE.sub(" ", text))):
        if number >= MOST_MENTIONED:
            break
        found |= {match[1], match[1].rstrip(".@+-")} - {""}
    return frozenset(found)
