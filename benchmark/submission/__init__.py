"""Checking records that somebody else made, and filing them into `results/`.

    files -> `entries` (parsed) -> `origin`, `recount`, `makings` (each alone)
          -> `together`, `copies`, `choices` (with one another) -> `placing` (written)

`examine` in `checks` is the whole way up to the last step. It serves submissions and the results tree
alike. What is found is a `Finding`: one line that names file and field, what is there and what would be
right. Bits reproduce counts and plans reproduce specs, but nobody can tell without running it again
that a network gave these bits: this finds mistakes and careless tampering, not a determined forger.
"""
