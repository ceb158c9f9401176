"""What a set of works has in common in colour, texture and line: described, scored, and asked for by losses.

`descriptors.py` says what is seen, `score.py` how near a picture comes to a set, `losses.py` pulls on the same numbers
while a network trains. docs/culture.md says what that is worth and what it is not.
"""
