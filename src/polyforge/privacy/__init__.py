"""Personal data and secrets in text: pure detectors, masks, reversible stand-ins, and a filter for streams.

The whole of it: `Detector(kinds).detect(text)` tells where, `replace(text, matches, Mask())` hides it,
`StreamFilter(detector, Mask())` does both for text that arrives in pieces, `Pseudonyms(key)` hides so that
the answer gets the values back. No I/O, no state beyond a stream's, nothing that a text can make slow.
"""
