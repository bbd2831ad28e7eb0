"""Checking records that somebody else made, and filing them into `results/`.

    files -> `read` -> `single`, `making` (each alone, against `expected`)
          -> `together`, `plausible` (with one another) -> `place` (written)

`examine` does all but the last step, for submissions and the results tree alike. A `Problem` is one
line with file and field, what is there and what would be right. Bits reproduce counts and plans
reproduce specs, but without running it again nobody can tell that a network gave these bits: this finds
mistakes and careless tampering, not a determined forger.
"""
