"""The layouts in which people hold FER2013: each is known by what it holds, read whole, and refused with one sentence.

``finding`` says which layout lies at a path; ``tables``, ``archives`` and ``folders`` read one layout each;
``ferplus`` reads the votes of FER+. All give the same ``Parsed`` arrays.
"""

from fervis.engines.fer_layouts.common import Parsed
from fervis.engines.fer_layouts.ferplus import VOTE_NAMES, join_votes
from fervis.engines.fer_layouts.finding import Source, find
from fervis.engines.fer_layouts.reading import read

__all__ = ["VOTE_NAMES", "Parsed", "Source", "find", "join_votes", "read"]
