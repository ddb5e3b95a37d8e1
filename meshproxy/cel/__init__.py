"""The Common Expression Language, as far as Envoy evaluates it: from text or syntax tree to a function of the stream.

`syntax` reads text into the tree of `nodes`, `messages` reads the protobuf form into the same tree, `compiler` turns
the tree into closures over `functions`, and `attributes` is what an expression can ask of a stream.

What Envoy switches off is off here: comprehensions (`exists`, `all`, `map`, `filter`) are refused, concatenation and
conversion to strings unless the configuration asks for them, and regular expressions are RE2 of a bounded size. An
expression can then take no more than linear time in what it looks at.
"""

from __future__ import annotations
