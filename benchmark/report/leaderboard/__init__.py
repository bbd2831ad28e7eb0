"""The leaderboard: what is on record, ranked where it is comparable, as JSON, Markdown and HTML."""
