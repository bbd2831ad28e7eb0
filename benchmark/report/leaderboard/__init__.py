"""The leaderboard: what is on record, ranked where it is comparable, in four formats."""
